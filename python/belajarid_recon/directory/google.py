"""The Google implementation of a directory, one tenant each.

google-api-python-client builds every request, from the discovery document it ships; the transport sends it, once. The client's own
`execute()` is not used: it would parse with the slower JSON reader and hide the status. What an answer to a write means is
decided here and nowhere else, after Google's error model (developers.google.com/workspace/admin/directory/v1/limits and the codes
other provisioners have met).
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from googleapiclient.discovery import build
from googleapiclient.model import JsonModel

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.chains import PAGE_ACCOUNTS
from belajarid_recon.directory.connections import Answer, NoAnswerError, Request
from belajarid_recon.directory.governor import RETRY_AFTER_SECONDS_MAX, Governor, Kind, Pace, unfenced
from belajarid_recon.directory.interface import (
    Account,
    Group,
    GroupPage,
    MemberPage,
    Page,
    Reply,
    RoleHolderPage,
    StaleTokenError,
    Verdict,
)
from belajarid_recon.directory.observed import carries_marker
from belajarid_recon.directory.roles import groups_with_a_role
from belajarid_recon.directory.transport import Transport
from belajarid_recon.errors import AccessError, DirectoryError, SettingsError, UnreachableError
from belajarid_recon.schemas import Jenjang

PAGE_GROUPS = 200
"""Of groups and of members: the most a page may hold."""
READ_ATTEMPTS = 8
"""With pauses of 1, 2, 4 … 64 s: about two minutes. Google's own recipe ends after half a minute and says longer is fine."""
BACKOFF_SECONDS_MAX = 64.0
SEARCH_PAGES_MAX = 4
SWAPPED_ATTEMPTS = 4
"""Of a read whose answer is about something else: answers are swapped between two calls under way, and rarely twice."""
ORGUNIT_FORBIDDEN = "#+/\\"
"""`/` cuts a path. `#` and `+` are not escaped by the client inside `{+orgUnitPath}`: a request would act on another unit."""
UNREADABLE = "unreadable"
ECHO_DIFFERS = "echo-differs"

_LIST_FIELDS = (
    "nextPageToken,users(id,primaryEmail,aliases,nonEditableAliases,name(givenName,familyName),orgUnitPath,"
    "organizations(costCenter,primary),externalIds,includeInGlobalAddressList,suspended,isAdmin,isDelegatedAdmin,"
    "recoveryEmail,recoveryPhone)"
)
"""What a snapshot reads: birth dates and other phones stay where they are. Of a recovery contact it keeps whether there is one; no
mask can ask for that alone."""

_REASON = re.compile(r"[A-Za-z][A-Za-z_-]{0,63}")
_QUOTA_REASONS = frozenset(
    {"userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded", "dailyLimitExceeded", "RESOURCE_EXHAUSTED"}
)
_QUOTA_PHRASES = (b"request rate higher than configured", b"quota exceeded", b"rate limit exceeded")
"""Some throttled answers are plain text or HTML (GAM, checkGAPIError)."""
_RIGHTS_REASONS = frozenset(
    {
        "forbidden",
        "domainCannotUseApis",
        "insufficientPermissions",
        "accessNotConfigured",
        "authError",
        "PERMISSION_DENIED",
    }
)
_STALE_TOKEN_STATUSES = frozenset({400, 410})


Fits = Callable[[Mapping[str, Any]], bool]
"""Whether a document answers what was asked."""


def _fits_always(_document: Mapping[str, Any]) -> bool:
    return True


def _refuse_nothing(_answer: Answer) -> None:
    pass


class _FastJson(JsonModel):  # type: ignore[misc]  # the client ships no types
    """The client's JSON model, writing bodies with orjson."""

    def serialize(self, body_value: Any) -> bytes:  # noqa: ANN401 - any JSON value
        """Return the body's bytes."""
        return orjson.dumps(body_value)


HOLE = "0"
"""What a recipe is built with where each request has a value of its own."""


class _Recipe:
    """One method's request, built once by the client; each call fills in its value and its body.

    Building takes the client 24 us, for an address and headers that hardly change; this takes 2.
    """

    def __init__(self, built: Any) -> None:  # noqa: ANN401 - HttpRequest, untyped
        """Take a request built with `HOLE` as the last part of its path, or without any such part."""
        path, mark, query = built.uri.partition("?")
        head, _, last = path.rpartition("/")
        self._method, self._headers = built.method, built.headers
        self._before = f"{head}/" if last == HOLE else path
        self._after = f"{mark}{query}"

    def request(self, value: str = "", body: Mapping[str, Any] | None = None) -> Request:
        """The request for one value, escaped as the client escapes path parameters."""
        uri = f"{self._before}{quote(value, safe='')}{self._after}"
        return Request(self._method, uri, None if body is None else orjson.dumps(body), self._headers)


@dataclass(frozen=True)
class TenantFacts:
    """What one tenant's calls need beside their transports."""

    tenant: Jenjang
    customer: str
    """The customer id of the settings, used in paths; `customer_id()` asks the server."""
    governor: Governor
    clock: Clock
    randomness: Randomness


class GoogleDirectory:
    """One tenant. Shared by threads: requests are built from an immutable document, and the transport locks for itself."""

    def __init__(self, transports: Sequence[Transport], facts: TenantFacts) -> None:
        """Take one transport for each of the governor's senders, all to one world."""
        self._transports = transports
        self._facts = facts
        service = build(
            "admin",
            "directory_v1",
            http=transports[0],
            model=_FastJson(),
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": transports[0].base},
        )
        # Each of these costs a millisecond to make and nothing to keep.
        self._users = service.users()
        self._orgunits = service.orgunits()
        self._aliases = self._users.aliases()
        self._groups = service.groups()
        self._members = service.members()
        self._role_assignments = service.roleAssignments()
        self._reading_roles = threading.Lock()
        # What nearly all calls are.
        self._get_user = _Recipe(self._users.get(userKey=HOLE))
        self._insert_user = _Recipe(self._users.insert(body={}))
        self._update_user = _Recipe(self._users.update(userKey=HOLE, body={}))
        self._domains = service.domains()
        self._customers = service.customers()

    @property
    def tenant(self) -> str:
        """The jenjang this tenant serves."""
        return self._facts.tenant

    @property
    def governor(self) -> Governor:
        """Who paces this tenant's calls."""
        return self._facts.governor

    def customer_id(self) -> str:
        """The customer id the server says these credentials belong to. Raises SettingsError when two senders are of two customers."""
        asked = self._customers.get(customerKey="my_customer")
        documents = [self._document(self._ask(asked, sender)) for sender in range(len(self._transports))]
        customers = {str(document.get("id", "")) for document in documents}
        if len(customers) > 1:
            raise SettingsError(
                f"the server knows the senders of one tenant as several customers: tenants.{self.tenant}.more_senders",
                hint="name credentials that belong to this tenant's own customer",
            )
        return customers.pop()

    def domains(self) -> list[str]:
        """Every verified domain of the customer, lower case, sorted: an unverified one can hold no account."""
        answer = self._read(self._domains.list(customer=self._facts.customer))
        return sorted(
            str(domain["domainName"]).lower() for domain in answer.get("domains", ()) if domain.get("verified", True)
        )

    def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        """One page (500) of the accounts whose primary address is in `domain`, unfiltered. Raises StaleTokenError.

        One that has moved to another domain may still be among them.
        """
        options = {"showDeleted": "true"} if deleted else {}
        request = self._users.list(
            domain=domain, maxResults=PAGE_ACCOUNTS, pageToken=token, fields=_LIST_FIELDS, **options
        )
        page = self._page(request, token, domain, lambda page: _is_of_domain(page.get("users"), "primaryEmail", domain))
        return Page(page.get("users", []), page.get("nextPageToken"))

    def get_account(self, key: str) -> Account | None:
        """The account with this immutable id, address or alias; None where the server answers 404."""
        request = self._get_user.request(key)
        return self._found(request, lambda account: _is_called(account, "primaryEmail", key), by_name="@" in key)

    def find_by_marker(self, marker: str) -> list[dict[str, Any]]:
        """Accounts whose externalIds carry `marker`, by the directory's search, which lags by up to 36 hours.

        What the search returns is checked here: it also matches values that only begin like the marker.
        """
        found: list[dict[str, Any]] = []
        token = None
        for _ in range(SEARCH_PAGES_MAX):
            request = self._users.list(
                customer=self._facts.customer, query=f"externalId={marker}", maxResults=PAGE_ACCOUNTS, pageToken=token
            )
            page = self._read(request)
            found += [account for account in page.get("users", ()) if carries_marker(account, marker)]
            token = page.get("nextPageToken")
            if token is None:
                return found
        raise DirectoryError(f"the search for one marker does not end: {SEARCH_PAGES_MAX * PAGE_ACCOUNTS} accounts")

    def orgunit_paths(self) -> set[str]:
        """Paths of every organisational unit below the root."""
        answer = self._read(self._orgunits.list(customerId=self._facts.customer, type="all"))
        return {str(unit["orgUnitPath"]) for unit in answer.get("organizationUnits", ())}

    def insert_account(self, body: Mapping[str, Any]) -> Reply:
        """users.insert, sent once. DONE needs the answer to carry the address and the marker that were sent."""
        domain = str(body["primaryEmail"]).lower().rpartition("@")[2]
        sent = self._write(self._insert_user.request(body=body), Kind.CREATION, domain)
        return sent if isinstance(sent, Reply) else account_answer_verdict(sent, body)

    def update_account(self, account_id: str, body: Mapping[str, Any]) -> Reply:
        """users.update by immutable id, sent once; fields that are absent stay as they are."""
        _refuse_address(account_id)
        request = self._update_user.request(account_id, body)
        return self._change(request, lambda account: account.get("id") == account_id, gone=Verdict.NOT_READY)

    def get_orgunit(self, path: str) -> Mapping[str, Any] | None:
        """The unit with this path; None where the server answers 404."""
        request = self._orgunits.get(customerId=self._facts.customer, orgUnitPath=path.lstrip("/"))
        return self._found(request, lambda unit: str(unit.get("orgUnitPath", "")).lower() == path.lower())

    def insert_orgunit(self, parent_path: str, name: str, description: str = "") -> Reply:
        """orgunits.insert, sent once. A 401 is ambiguous here: the unit may have been made all the same."""
        if not name or any(character in name for character in ORGUNIT_FORBIDDEN):
            raise DirectoryError(f"no such name for an organisational unit: {name}", hint="# + / \\ are not allowed")
        body = {"name": name, "parentOrgUnitPath": parent_path} | ({"description": description} if description else {})
        path = f"{parent_path.rstrip('/')}/{name}".lower()
        return self._change_orgunit(self._orgunits.insert(customerId=self._facts.customer, body=body), path)

    def describe_orgunit(self, path: str, description: str) -> Reply:
        """orgunits.patch of the description alone, sent once."""
        request = self._orgunits.patch(
            customerId=self._facts.customer, orgUnitPath=path.lstrip("/"), body={"description": description}
        )
        return self._change_orgunit(request, path.lower())

    def _change_orgunit(self, built: Any, path: str) -> Reply:  # noqa: ANN401 - HttpRequest, untyped
        """Send a write to the unit at `path` (lower case) once."""
        sent = self._write(built, Kind.ORGUNIT_WRITE)
        if isinstance(sent, Reply):
            return sent
        if sent.status == 401:
            return Reply(Verdict.AMBIGUOUS, sent.status, _reason(sent))
        return _classified(sent, lambda unit: str(unit.get("orgUnitPath", "")).lower() == path)

    def undelete_account(self, account_id: str, ou_path: str) -> Reply:
        """users.undelete by immutable id, sent once: an address is refused by the server, too."""
        _refuse_address(account_id)
        return self._change(self._users.undelete(userKey=account_id, body={"orgUnitPath": ou_path}))

    def delete_account(self, account_id: str) -> Reply:
        """users.delete by immutable id, sent once. A 404 is ambiguous: an earlier sending may have done it."""
        _refuse_address(account_id)
        return self._change(self._users.delete(userKey=account_id), gone=Verdict.AMBIGUOUS)

    def insert_alias(self, account_id: str, alias: str) -> Reply:
        """users.aliases.insert, sent once."""
        _refuse_address(account_id)
        request = self._aliases.insert(userKey=account_id, body={"alias": alias})
        return self._change(request, gone=Verdict.NOT_READY)

    def delete_alias(self, account_id: str, alias: str) -> Reply:
        """users.aliases.delete, sent once. A 404 is ambiguous: account and alias are told apart by reading."""
        _refuse_address(account_id)
        return self._change(self._aliases.delete(userKey=account_id, alias=alias), gone=Verdict.AMBIGUOUS)

    def list_groups(self, domain: str, token: str | None) -> GroupPage:
        """One page (200) of the groups whose address is in `domain`. Raises StaleTokenError."""
        request = self._groups.list(domain=domain, maxResults=PAGE_GROUPS, pageToken=token)
        page = self._page(request, token, domain, lambda page: _is_of_domain(page.get("groups"), "email", domain))
        return GroupPage(page.get("groups", []), page.get("nextPageToken"))

    def list_members(self, group: str, token: str | None) -> MemberPage | None:
        """One page (200) of a group's direct members; None where the server answers 404. Raises StaleTokenError."""
        request = self._members.list(groupKey=group, maxResults=PAGE_GROUPS, pageToken=token)
        page = self._found_page(request, token, group)
        return None if page is None else MemberPage(page.get("members", []), page.get("nextPageToken"))

    def get_group(self, address: str) -> Group | None:
        """The group with this address, alias or immutable id; None where the server answers 404."""
        request = self._groups.get(groupKey=address)
        return self._found(request, lambda group: _is_called(group, "email", address), by_name="@" in address)

    def has_member(self, group: str, account_id: str) -> bool:
        """Whether the account is a direct member of the group. Not members.hasMember, which counts groups inside groups as well."""
        request = self._members.get(groupKey=group, memberKey=account_id)
        return self._found(request, lambda member: member.get("id") == account_id) is not None

    def insert_group(self, body: Mapping[str, Any]) -> Reply:
        """groups.insert, sent once."""
        address = str(body["email"]).lower()
        return self._change(self._groups.insert(body=body), lambda group: _is_at(group, address))

    def insert_member(self, group: str, account_id: str) -> Reply:
        """members.insert with role MEMBER, sent once: nobody gets a group to manage, and none of a group that holds a role.

        Which groups do (directory/roles.py) is read once, before the first. Raises DirectoryError for such a group.
        """
        _refuse_address(account_id)
        self._know_groups_with_a_role()
        request = self._members.insert(groupKey=group, body={"id": account_id, "role": "MEMBER"})
        return self._change(request, lambda member: member.get("id") == account_id, gone=Verdict.NOT_READY)

    def delete_member(self, group: str, account_id: str) -> Reply:
        """members.delete, sent once. A 404 is ambiguous: group and member are told apart by reading."""
        _refuse_address(account_id)
        return self._change(self._members.delete(groupKey=group, memberKey=account_id), gone=Verdict.AMBIGUOUS)

    def list_role_holders(self, token: str | None) -> RoleHolderPage:
        """The groups in one page (200) of the customer's role assignments: those that hold a role themselves. Raises StaleTokenError."""
        request = self._role_assignments.list(customer=self._facts.customer, maxResults=PAGE_GROUPS, pageToken=token)
        page = self._page(request, token, "role assignments")
        # Small letters in answers, capitals in the reference; what is neither may be a group.
        held = [
            str(one["assignedTo"])
            for one in page.get("items", ())
            if str(one.get("assigneeType", "")).lower() != "user"
        ]
        return RoleHolderPage(held, page.get("nextPageToken"))

    def _know_groups_with_a_role(self) -> None:
        with self._reading_roles:
            if self._transports[0].groups_with_a_role is None:
                found = self._names_of(groups_with_a_role(self, threading.Event()))
                for transport in self._transports:
                    transport.groups_with_a_role = found

    def _names_of(self, group_ids: Collection[str]) -> frozenset[str]:
        """Ids and addresses of these groups, lower case: all that a request can call them by."""
        names = set(group_ids)
        for group_id in group_ids:
            group = self.get_group(group_id) or {}
            names.update(map(str, (group.get("email", group_id), *group.get("aliases", ()))))
            names.update(map(str, group.get("nonEditableAliases", ())))
        return frozenset(name.lower() for name in names)

    def _change(
        self,
        built: Any,  # noqa: ANN401 - HttpRequest, untyped
        echoes: Callable[[Mapping[str, Any]], bool] | None = None,
        *,
        gone: Verdict = Verdict.REJECTED,
    ) -> Reply:
        """Send a write that costs one call, once. `echoes` judges its answer; None for one without content.

        `gone` is what a 404 means, and a 412 with it where that is NOT_READY.
        """
        sent = self._write(built, Kind.CHANGE)
        if isinstance(sent, Reply):
            return sent
        early = sent.status == 412 and gone is Verdict.NOT_READY and _reason(sent) != "limitExceeded"
        if sent.status == 404 or early:
            return Reply(gone, sent.status, _reason(sent), retry_after_seconds=_retry_after(sent))
        if echoes is None and 200 <= sent.status < 300:
            return Reply(Verdict.DONE, sent.status)
        return _classified(sent, echoes)

    def _page(
        self,
        built: Any,  # noqa: ANN401 - HttpRequest, untyped
        token: str | None,
        what: str,
        fits: Fits = _fits_always,
    ) -> dict[str, Any]:
        """One page of a list. Raises StaleTokenError when its token is no longer taken, and DirectoryError where there is no such list."""
        page = self._found_page(built, token, what, fits)
        if page is None:
            raise DirectoryError(f"the directory of tenant {self.tenant} knows nothing of: {what}")
        return page

    def _found_page(
        self,
        built: Any,  # noqa: ANN401 - HttpRequest, untyped
        token: str | None,
        what: str,
        fits: Fits = _fits_always,
    ) -> dict[str, Any] | None:
        """The same; None where the server answers 404."""

        def refuse_stale(answer: Answer) -> None:
            if token is not None and answer.status in _STALE_TOKEN_STATUSES:
                raise StaleTokenError(f"a list must start again: {what}")

        return self._found(built, fits, refuse_stale, by_name=True)

    def _found(
        self,
        built: Any,  # noqa: ANN401 - HttpRequest, untyped
        fits: Fits,
        refuse: Callable[[Answer], None] = _refuse_nothing,
        *,
        by_name: bool = False,
    ) -> dict[str, Any] | None:
        """The document a read asks for; None where the server answers 404. `refuse` may raise at any answer.

        A document that does not fit answers somebody else's question, and is asked for again: an address would be taken for another's,
        and a list for ended. One that comes back the same each time is the server's word for an address or a domain: it may still resolve
        an alias that is gone, or list who has moved. What is asked for by id or path must fit. Raises UnreachableError.
        """
        answered = list[dict[str, Any]]()
        for attempt in range(SWAPPED_ATTEMPTS):
            if attempt:
                self.governor.charge_retry(Kind.READ)
                self._pause(attempt - 1, None)
            answer = self._ask(built)
            refuse(answer)
            if answer.status == 404:
                return None
            document = self._document(answer)
            if fits(document):
                return document
            answered.append(document)
        if by_name and all(document == answered[0] for document in answered):
            return answered[0]
        raise UnreachableError(
            f"the directory of tenant {self.tenant} answers for another than the one that was asked for",
            hint="look for a proxy between this machine and the directory, then try again; nothing was changed",
        )

    def close(self) -> None:
        """Close idle connections."""
        for transport in self._transports:
            transport.close()

    def _write(self, built: Any, kind: Kind, domain: str = "") -> Answer | Reply:  # noqa: ANN401 - HttpRequest, untyped
        """Send a built write once: its answer, or the reply that stands for none."""
        try:
            return self._send(_request(built), kind, domain)
        except NoAnswerError as error:
            return Reply(Verdict.AMBIGUOUS, None, str(error.lost))

    def _send(self, request: Request, kind: Kind, domain: str = "", sender: int | None = None) -> Answer:
        """Send when the governor says so, and tell it what came back. Raises NoAnswerError.

        The governor chooses among the senders, unless the answer depends on who asks.
        """
        with self.governor.permit(kind, domain) as permit:
            transport = self._transports[permit.sender if sender is None else sender]
            try:
                may_send = unfenced if kind is Kind.READ else self.governor.may_write
                answer = transport.send(request, may_send, again_if_refused=kind is not Kind.ORGUNIT_WRITE)
            except NoAnswerError:
                permit.answered(Pace.FAILED)
                raise
            permit.answered(_pace(answer), _retry_after(answer))
            return answer

    def _read(self, built: Any) -> dict[str, Any]:  # noqa: ANN401 - HttpRequest, untyped
        """Send a read until it is answered, and return its document."""
        return self._document(self._ask(built))

    def _ask(self, built: Any, sender: int | None = None) -> Answer:  # noqa: ANN401 - HttpRequest, untyped
        """Send a read until the server has an answer to it; the patience is bounded.

        Tried again: no answer, 5xx, 429, 409, 412, a quota's 403, and a 2xx that is no JSON object. Raises DirectoryError.
        """
        request = _request(built)
        why = ""
        for attempt in range(READ_ATTEMPTS):
            if attempt:
                self.governor.charge_retry(Kind.READ)
            retry_after = None
            try:
                answer = self._send(request, Kind.READ, sender=sender)
            except NoAnswerError as error:
                why = str(error.lost)
            else:
                if not _is_transient(answer):
                    return answer
                why, retry_after = f"status {answer.status}, {_reason(answer)}", _retry_after(answer)
            if attempt + 1 < READ_ATTEMPTS:
                self._pause(attempt, retry_after)
        raise UnreachableError(
            f"the directory of tenant {self.tenant} does not answer: {why}", hint="try again later; nothing was changed"
        )

    def _pause(self, attempt: int, retry_after: float | None) -> None:
        """Sleep 1, 2, 4 … seconds and up to one more, or as long as the server asked for."""
        jitter = int.from_bytes(self._facts.randomness.bytes(2), "big") / 65_536
        backoff = min(BACKOFF_SECONDS_MAX, 2.0**attempt)
        self.governor.sleep((backoff if retry_after is None else retry_after) + jitter)

    def _document(self, answer: Answer) -> dict[str, Any]:
        """The body of a 2xx. Raises DirectoryError for every other status."""
        if 200 <= answer.status < 300:
            document = _json_object(answer.content)
            if document is not None:
                return document
        _stop_without_rights(answer)
        raise DirectoryError(
            f"the directory of tenant {self.tenant} refuses a read: status {answer.status}, {_reason(answer)}",
            hint="the reason is Google's word for it; see its Directory API error pages",
        )


def _request(built: Any) -> Request:  # noqa: ANN401 - HttpRequest, untyped
    """What is sent of a request that the client has built, or a recipe."""
    if isinstance(built, Request):
        return built
    return Request(built.method, built.uri, built.body, built.headers)


def _refuse_address(account_id: str) -> None:
    """An address is not whose it was: after a rename it is an alias, after a deletion somebody else's. Raises DirectoryError."""
    if "@" in account_id:
        raise DirectoryError("an account is changed by its immutable id only: an address was given")


def _is_called(document: Mapping[str, Any], own: str, key: str) -> bool:
    """Whether an account or a group has this immutable id, address (`own` names the attribute) or alias."""
    addresses = (document.get(own), *document.get("aliases", ()), *document.get("nonEditableAliases", ()))
    return document.get("id") == key or key.lower() in (str(address).lower() for address in addresses)


def _is_of_domain(listed: Sequence[Mapping[str, Any]] | None, own: str, domain: str) -> bool:
    """Whether a page of accounts or groups may be one of this domain: all of another's are in another."""
    end = f"@{domain}".lower()
    return not listed or any(str(one.get(own, "")).lower().endswith(end) for one in listed)


def _is_at(group: Mapping[str, Any], address: str) -> bool:
    return str(group.get("email", "")).lower() == address


def account_answer_verdict(answer: Answer, body: Mapping[str, Any]) -> Reply:
    """What an answer to an insert of `body` means. Raises DirectoryError as every write does."""
    return _classified(answer, lambda account: _same_account(account, body))


def _same_account(account: Account, body: Mapping[str, Any]) -> bool:
    """Whether an insert's answer is about the account that was asked for."""
    if str(account.get("primaryEmail", "")).lower() != str(body["primaryEmail"]).lower() or not account.get("id"):
        return False
    return all(
        carries_marker(account, str(entry["value"]))
        for entry in body.get("externalIds", ())
        if entry.get("customType") == "recon"
    )


def _classified(answer: Answer, echoes: Any) -> Reply:  # noqa: ANN401 - a predicate on the answer's document
    """What an answer to a write means. `echoes` says whether a 2xx document is about what was asked.

    Raises DirectoryError for 401 and for a 403 that speaks of rights or set-up: no step can go on, and this one was not carried out.
    """
    status = answer.status
    if status in {200, 201}:
        document = _json_object(answer.content)
        if document is None:
            return Reply(Verdict.AMBIGUOUS, status, UNREADABLE)
        if not echoes(document):
            return Reply(Verdict.AMBIGUOUS, status, ECHO_DIFFERS)
        return Reply(Verdict.DONE, status, account=document)
    reason = _reason(answer)
    if _is_throttled(answer):
        return Reply(Verdict.THROTTLED, status, reason, retry_after_seconds=_retry_after(answer))
    _stop_without_rights(answer)
    if status < 400 or status in {408, 409} or status >= 500 or (status == 403 and reason == UNREADABLE):
        return Reply(Verdict.AMBIGUOUS, status, reason)
    return Reply(Verdict.REJECTED, status, reason)


def _pace(answer: Answer) -> Pace:
    """What an answer says about the pace. Text without a reason is the front's word for too many of a kind."""
    if answer.status < 400:
        return Pace.KEPT
    if answer.status >= 500:
        return Pace.FAILED
    if not _is_throttled(answer):
        return Pace.KEPT
    if answer.status == 429:
        return Pace.TOO_MANY
    return Pace.TOO_MANY_OF_KIND if _reason(answer) == "quotaExceeded" else Pace.MINUTE_SPENT


def _is_throttled(answer: Answer) -> bool:
    return answer.status == 429 or (answer.status == 403 and _reason(answer) in _QUOTA_REASONS)


def _is_transient(answer: Answer) -> bool:
    """Whether a read may be answered otherwise a moment later."""
    if 200 <= answer.status < 300:
        return not answer.content.lstrip().startswith(b"{")
    return answer.status >= 500 or answer.status in {408, 409, 412} or _is_throttled(answer)


def _stop_without_rights(answer: Answer) -> None:
    """Raise DirectoryError when the answer says that this program may not do this here at all."""
    reason = _reason(answer)
    if answer.status == 401:
        raise AccessError(
            "the directory does not take our token, not even a new one: status 401",
            hint="check the service account's key and delegation; steps without an answer are settled at the next start",
        )
    if answer.status == 403 and reason in _RIGHTS_REASONS:
        raise AccessError(
            f"the service account may not do this: {reason}",
            hint="check its role or delegation, the scopes, and that the API is switched on",
        )


def _json_object(content: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(orjson.JSONDecodeError):
        document = orjson.loads(content)
        if isinstance(document, dict):
            return document
    return None


def _reason(answer: Answer) -> str:
    """Google's reason word. Text of the body never gets through: what is no plain word is `unreadable`."""
    if 200 <= answer.status < 300:
        return ""
    document = _json_object(answer.content)
    if document is None:
        text = answer.content[:4_096].lower()
        return "quotaExceeded" if any(phrase in text for phrase in _QUOTA_PHRASES) else UNREADABLE
    error = document.get("error")
    if not isinstance(error, dict):
        return UNREADABLE
    faults = error.get("errors")
    first = faults[0] if isinstance(faults, list) and faults and isinstance(faults[0], dict) else {}
    word = first.get("reason") or error.get("status")
    return word if isinstance(word, str) and _REASON.fullmatch(word) else UNREADABLE


def _retry_after(answer: Answer) -> float | None:
    """Seconds that Retry-After asks for, bounded. The form with a date is not one Google's APIs send, and counts as none."""
    value = answer.headers.get("retry-after", "")
    return min(float(value), RETRY_AFTER_SECONDS_MAX) if value.isascii() and value.isdigit() else None
