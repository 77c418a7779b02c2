"""A sealed reading of all tenants: every account, every address in sight, every organisational unit.

Each domain is read in one unfiltered chain of pages (search lags by up to 36 hours, so nothing is filtered) and a second one for deleted
accounts, whose addresses stay taken. Pages go to spool files; the core then seals them by account key:

    <folder>/part=NNN/accounts.parquet     accounts with our marker, sorted by account key
    <folder>/unmarked/accounts.parquet     all others
    <folder>/deleted/accounts.parquet      deleted accounts that can still be restored, by tenant and id
    <folder>/addresses/<tenant>.parquet    local parts in sight, sorted
    <folder>/groups/<tenant>.parquet       groups, if they were asked for, sorted by id
    <folder>/part=NNN/members.parquet      members of our groups that are accounts with our marker, sorted by account key
    <folder>/unmarked/members.parquet      their other members
    <folder>/snapshot.json                 counts, instants, findings, unit paths, SHA-256 of each file, digest of the content

The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import orjson
import polars as pl
import polars.selectors as cs

from belajarid_recon import _core
from belajarid_recon.components import Clock
from belajarid_recon.directory.accounts import AccountList, ListRead, read_accounts
from belajarid_recon.directory.groups import (
    GROUPS_PER_WORK,
    MEMBERS_FOLDER,
    GroupSource,
    groups_work,
    members_work,
    read_groups,
    read_members,
    spooled_members,
    with_account_keys,
)
from belajarid_recon.directory.interface import Directory
from belajarid_recon.directory.reading import Reading, Work, digest_of, keep_only
from belajarid_recon.directory.roles import groups_with_a_role
from belajarid_recon.errors import DirectoryError, InputError, ReconError, SettingsError
from belajarid_recon.schemas import ADDRESSES, DELETED, OBSERVED, OBSERVED_GROUP, OBSERVED_MEMBER, Jenjang
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_file, fsync_folder, write_atomically

_T = TypeVar("_T")

FORMAT_VERSION = 2
LISTS_AT_ONCE = 8
_DIGEST_ROWS = 100_000
_DIGESTED = tuple(name for name in OBSERVED if name != "read_at")
_ORDER = ("account_key", "tenant", "id")


def _no_report(tenant: str, number: int) -> None:
    """Report nothing."""
    del tenant, number


@dataclass(frozen=True)
class SnapshotRequest:
    """What to read and where to put it."""

    folder: Path
    """Must not exist yet."""
    customer_ids: Mapping[Jenjang, str]
    """The ids the servers must answer with, from the settings."""
    parts: int
    threads: int
    """Threads of the seal."""
    clock: Clock
    lists_at_once: int = LISTS_AT_ONCE
    """Chains of pages under way at once, over all tenants."""
    group_markers: Mapping[Jenjang, frozenset[str]] = field(default_factory=dict)
    """Tenants whose groups are read, each with the markers of the groups whose members are read too."""
    report: Callable[[str, int], None] = _no_report
    """Called from several threads with a tenant and the number of accounts just read."""
    report_groups: Callable[[str, int], None] = _no_report
    """The same of groups whose members were read."""
    reading: Reading | None = None
    """What was read goes there and stays there, so that a later start goes on with it; none: into a folder that goes on any exit."""


@dataclass(frozen=True)
class SnapshotFacts:
    """What a sealed snapshot says about itself."""

    digest: str
    """Equal for equal content of the directories, whatever the parts, threads, pages and instants."""
    parts: int
    tenants: Mapping[str, Mapping[str, Any]]
    """Tenant to `customer_id`, `domains` (name to `accounts` and `deleted`), `marked`, `unmarked`, `findings`, `orgunits`.

    Where groups were read also `groups` (their number), `members` (of groups of ours, accounts with our marker), `strangers` (others) and
    `role_groups` (sorted ids of the groups that hold a role or are inside one that does).
    """
    files: Mapping[str, Mapping[str, Any]]
    """Relative path to `rows` and `sha256`."""
    repeated: int
    """Rows dropped because their account was read before: it moved to a later page while the list was read."""

    @property
    def accounts(self) -> int:
        """Accounts of all tenants."""
        return sum(tenant["marked"] + tenant["unmarked"] for tenant in self.tenants.values())


def take_snapshots(directories: Mapping[Jenjang, Directory], request: SnapshotRequest) -> SnapshotFacts:
    """Read all tenants side by side and seal what they said.

    With a `reading` what it holds is not read again; its owner removes it once the snapshot has served. Raises SettingsError when a
    server answers with another customer id than the settings hold, and DirectoryError when a list cannot be read to its end. No
    snapshot is left behind then.
    """
    return seal_snapshot(request, lambda spool: _read_tenants(directories, request, spool))


def seal_snapshot(request: SnapshotRequest, read: Callable[[Path], dict[str, dict[str, Any]]]) -> SnapshotFacts:
    """Seal what `read` puts into the spool folder it is given, which is empty but for what a reading holds.

    `read` writes `<tenant>.<list>/*.accounts.parquet` (schemas.OBSERVED) and `*.addresses.parquet` (`user_id`), and returns a head for
    each tenant: `customer_id`, `domains` (name to `accounts` and `deleted`), `findings`, `orgunits` (sorted). Whatever it raises
    leaves nothing behind but the reading.
    """
    if request.folder.exists():
        raise InputError(f"the snapshot exists already: {request.folder}")
    temporary = request.folder.with_name(request.folder.name + PART_SUFFIX)
    shutil.rmtree(temporary, ignore_errors=True)
    own = temporary / "spool"
    own.mkdir(parents=True)
    reading = request.reading or Reading(own, request.clock.now(), accounts=0)
    try:
        tenants = read(reading.folder)
        facts = _seal(temporary, reading.folder, request, tenants)
        shutil.rmtree(own)
        _close(temporary, facts, (reading.started, request.clock.now()))
        temporary.replace(request.folder)
        fsync_folder(request.folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return facts


def take_snapshot(directory: Directory, tenant: Jenjang, request: SnapshotRequest) -> SnapshotFacts:
    """Read one tenant, as `take_snapshots` does all."""
    return take_snapshots({tenant: directory}, request)


def _read_tenants(
    directories: Mapping[Jenjang, Directory], request: SnapshotRequest, spool: Path
) -> dict[str, dict[str, Any]]:
    """Read every tenant's customer, units and lists; accounts and members go to the spool, the rest is returned."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=request.lists_at_once, thread_name_prefix="list") as pool:
        try:
            pairs = directories.items()
            heads = _all([pool.submit(_read_head, tenant, directory, request) for tenant, directory in pairs])
            tenants = {str(tenant): head for tenant, head in zip(directories, heads, strict=True)}
            chains = [
                AccountList(directory, tenant, domain, deleted, request.clock, request.report, stop)
                for tenant, directory in directories.items()
                for domain in tenants[tenant]["domains"]
                for deleted in (False, True)
            ]
            asked = request.group_markers.items()
            sources = [GroupSource(directories[tenant], tenant, markers, stop) for tenant, markers in asked]
            (spool / MEMBERS_FOLDER).mkdir(mode=0o700, exist_ok=True)
            names = {chain.name for chain in chains} | {groups_work(source.tenant) for source in sources}
            keep_only(spool, names | {MEMBERS_FOLDER})
            lists = [pool.submit(read_groups, source, tenants[source.tenant]["domains"], spool) for source in sources]
            role_groups = [pool.submit(groups_with_a_role, source.directory, stop) for source in sources]
            account_lists = [pool.submit(_read_list, chain, spool) for chain in chains]
            groups = _all(lists)
            work = _member_work(sources, groups)
            keep_only(spool / MEMBERS_FOLDER, {members_work(source.tenant, start) for source, start, _ in work})
            member_lists = [pool.submit(_read_members, *one, spool, request) for one in work]
            gone = {group_id for ids in _all(member_lists) for group_id in ids}
            for source, found in zip(sources, _all(role_groups), strict=True):
                tenants[source.tenant]["role_groups"] = sorted(found)
            reads = _all(account_lists)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    _count_lists(tenants, chains, reads)
    _spool_groups(sources, groups, gone, spool)
    return tenants


def _count_lists(tenants: dict[str, dict[str, Any]], chains: list[AccountList], reads: list[ListRead]) -> None:
    """Add what the lists brought to the tenants' heads."""
    for chain, read in zip(chains, reads, strict=True):
        tenant = tenants[chain.tenant]
        tenant["domains"][chain.domain]["deleted" if chain.deleted else "accounts"] = read.accounts
        for finding, count in sorted(read.findings.items()):
            tenant["findings"][finding] = tenant["findings"].get(finding, 0) + count


def _member_work(
    sources: list[GroupSource], groups: list[pl.DataFrame]
) -> list[tuple[GroupSource, int, Sequence[str]]]:
    """Groups whose members are read, cut small; tenants take turns, so that each uses its own quota all the time."""
    work = [
        (start, source, listed["id"][start : start + GROUPS_PER_WORK].to_list())
        for source, frame in zip(sources, groups, strict=True)
        for listed in [frame.filter("members_read")]
        for start in range(0, listed.height, GROUPS_PER_WORK)
    ]
    return [(source, start, ids) for start, source, ids in sorted(work, key=itemgetter(0))]


def _read_list(chain: AccountList, spool: Path) -> ListRead:
    return read_accounts(chain, Work(spool / chain.name))


def _read_members(
    source: GroupSource, start: int, group_ids: Sequence[str], spool: Path, request: SnapshotRequest
) -> list[str]:
    folder = spool / MEMBERS_FOLDER / members_work(source.tenant, start)
    gone = read_members(source, group_ids, Work(folder, digest_of(group_ids)))
    request.report_groups(str(source.tenant), len(group_ids))
    return gone


def _spool_groups(sources: list[GroupSource], groups: list[pl.DataFrame], gone: set[str], spool: Path) -> None:
    for source, frame in zip(sources, groups, strict=True):
        there = pl.col("members_read") & ~pl.col("id").is_in(list(gone))
        frame.with_columns(members_read=there).sort("id").write_parquet(spool / f"{source.tenant}.groups.parquet")


def _all(futures: list[Future[_T]]) -> list[_T]:
    """The results, in order; the first failure at once, whichever it is."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    return [future.result() for future in futures]


def _read_head(tenant: Jenjang, directory: Directory, request: SnapshotRequest) -> dict[str, Any]:
    """Customer id, domains and units of a tenant. Raises SettingsError for another customer before anything else is read."""
    customer = directory.customer_id()
    if customer != request.customer_ids[tenant]:
        raise SettingsError(
            f"the credentials of tenant {tenant} belong to another customer than the settings say: {customer}",
            hint="check the tenant's customer_id and credentials_file",
        )
    domains = directory.domains()
    if not domains:
        raise DirectoryError(f"the directory names no domain of tenant {tenant}")
    return {
        "customer_id": customer,
        "domains": {domain: {"accounts": 0, "deleted": 0} for domain in domains},
        "findings": {},
        "orgunits": sorted(directory.orgunit_paths()),
    }


def _seal(out: Path, spool: Path, request: SnapshotRequest, tenants: dict[str, dict[str, Any]]) -> SnapshotFacts:
    """Shuffle the spooled accounts into parts, settle their order, and digest everything."""
    listed = sum(domain["accounts"] for tenant in tenants.values() for domain in tenant["domains"].values())
    if files := sorted(spool.glob("*/*.accounts.parquet")):
        _core.seal(
            [str(file) for file in files],
            key_column="account_key",
            columns=list(OBSERVED),
            parts=request.parts,
            out_folder=str(out),
            table="accounts",
            threads=request.threads,
        )
    digest = hashlib.sha256()
    sealed: dict[str, Mapping[str, Any]] = {}
    kept = sealed_rows = 0
    for name in [*(_part_name(part) for part in range(request.parts)), _UNMARKED]:
        frame, rows = _settle(out / name)
        sealed_rows += rows
        kept += frame.height
        _count_accounts(tenants, frame, "unmarked" if name == _UNMARKED else "marked")
        for line in _canonical_rows(frame):
            digest.update(line)
        if rows:
            sealed[name] = _seal_of(out / name, frame.height)
    if sealed_rows != listed:
        raise ReconError(f"the seal holds another number of accounts than the lists had: {sealed_rows} of {listed}")
    gone = _write_deleted(out, spool)
    if gone.height:
        sealed[_DELETED] = _seal_of(out / _DELETED, gone.height)
        for line in _canonical_lines(gone.with_columns(pl.col("account_key").bin.encode("hex"))):
            digest.update(line)
    for tenant in sorted(tenants):
        name, rows = _write_addresses(out, spool, tenant, digest)
        sealed[name] = _seal_of(out / name, rows)
        digest.update(_canonical_head(tenant, tenants[tenant]))
    sealed |= _seal_groups(out, spool, request, tenants, digest)
    return SnapshotFacts(digest.hexdigest(), request.parts, tenants, sealed, listed - kept)


def _seal_groups(
    out: Path, spool: Path, request: SnapshotRequest, tenants: dict[str, dict[str, Any]], digest: hashlib._Hash
) -> dict[str, dict[str, Any]]:
    """Write groups by tenant, and their members to the parts of their accounts; digest and count them. Returns the files' seals.

    The members of all tenants are in memory meanwhile, at about 110 bytes each.
    """
    sealed = {}
    for tenant in sorted(map(str, request.group_markers)):
        groups = _typed(pl.read_parquet(spool / f"{tenant}.groups.parquet"), OBSERVED_GROUP)
        tenants[tenant] |= {"groups": groups.height, "members": 0, "strangers": 0}
        sealed[_groups_name(tenant)] = _write_digested(out / _groups_name(tenant), groups, digest)
    members = spooled_members(spool).with_row_index("row")
    ours = pl.Series(dtype=pl.UInt32)
    for part in range(request.parts if members.height else 0):
        accounts = _read_columns(out / _part_name(part), ["tenant", "id", "account_key"])
        theirs = with_account_keys(members, accounts)
        ours.append(theirs["row"])
        if theirs.height:
            sealed[_members_name(part)] = _write_digested(out / _members_name(part), theirs.drop("row"), digest)
        _count_members(tenants, theirs, "members")
    others = members.filter(~pl.col("row").is_in(ours.implode())).drop("row").sort("tenant", "group_id", "member_id")
    if others.height:
        sealed[_STRANGERS] = _write_digested(out / _STRANGERS, others, digest)
    _count_members(tenants, others, "strangers")
    return sealed


def _count_members(tenants: dict[str, dict[str, Any]], frame: pl.DataFrame, kind: str) -> None:
    for tenant, count in frame.group_by("tenant").len().iter_rows():
        tenants[tenant][kind] += count


def _write_digested(path: Path, frame: pl.DataFrame, digest: hashlib._Hash) -> dict[str, Any]:
    """Write a settled frame and let its rows into the digest. Returns its seal."""
    path.parent.mkdir(exist_ok=True)
    frame.write_parquet(path, compression="zstd")
    for line in _canonical_lines(frame.with_columns(cs.binary().bin.encode("hex"))):
        digest.update(line)
    return _seal_of(path, frame.height)


def _read_columns(path: Path, names: list[str]) -> pl.DataFrame:
    """Some columns of a sealed file of accounts; no rows where there is none."""
    schema = pl.Schema({name: OBSERVED[name] for name in names})
    return _typed(pl.read_parquet(path, columns=names), schema) if path.exists() else schema.to_frame()


def _count_accounts(tenants: dict[str, dict[str, Any]], frame: pl.DataFrame, kind: str) -> None:
    """Add the frame's rows to the tenants' counts of `kind`."""
    counts = dict(frame.group_by("tenant").len().iter_rows())
    for tenant, head in tenants.items():
        head[kind] = head.get(kind, 0) + counts.get(tenant, 0)


def _canonical_head(tenant: str, head: Mapping[str, Any]) -> bytes:
    """What the digest holds of a tenant beside its accounts and addresses."""
    known = {
        "tenant": tenant,
        "customer_id": head["customer_id"],
        "domains": sorted(head["domains"]),
        "orgunits": head["orgunits"],
    }
    if "role_groups" in head:
        known["role_groups"] = head["role_groups"]
    return orjson.dumps(known, option=orjson.OPT_SORT_KEYS) + b"\n"


def _settle(path: Path) -> tuple[pl.DataFrame, int]:
    """One sealed file and the rows it came with, each account once and in an order that depends on nothing but its content.

    An account that moved to a later page while its list was read is there twice; the later reading stays. Two accounts
    with one marker are two accounts, and both stay.
    """
    if not path.exists():
        return OBSERVED.to_frame(), 0
    frame = _typed(pl.read_parquet(path), OBSERVED)
    settled = frame.sort(*_ORDER, "read_at").unique(subset=["tenant", "id"], keep="last", maintain_order=True)
    if not settled.equals(frame):
        settled.write_parquet(path, compression="zstd", row_group_size=131_072)
    return settled, frame.height


def _write_deleted(out: Path, spool: Path) -> pl.DataFrame:
    """Write the deleted accounts of all tenants, each once, in an order of their own."""
    files = sorted(spool.glob("*/*.deleted.parquet"))
    # One that is restored and deleted again while its list is read may stand there twice.
    gone = pl.concat([DELETED.to_frame(), *map(pl.read_parquet, files)]).unique(["tenant", "id"]).sort("tenant", "id")
    if gone.height:
        (out / _DELETED).parent.mkdir(exist_ok=True)
        gone.write_parquet(out / _DELETED, compression="zstd")
    return gone


def _write_addresses(out: Path, spool: Path, tenant: str, digest: hashlib._Hash) -> tuple[str, int]:
    """Write a tenant's addresses, sorted and each once; digest them. Returns the file's name and its rows."""
    name = _addresses_name(tenant)
    (out / name).parent.mkdir(exist_ok=True)
    files = sorted(spool.glob(f"{tenant}.*/*.addresses.parquet"))
    user_ids = pl.concat([pl.Series(dtype=pl.String, name="user_id").to_frame(), *map(pl.read_parquet, files)])
    frame = (
        user_ids.unique()
        .sort("user_id")
        .select(pl.lit(tenant).alias("tenant"), "user_id", pl.lit(None, dtype=pl.Binary).alias("owner"))
    )
    frame.write_parquet(out / name, compression="zstd")
    for line in _canonical_lines(frame.select("tenant", "user_id")):
        digest.update(line)
    return name, frame.height


def _canonical_rows(frame: pl.DataFrame) -> Iterator[bytes]:
    """Accounts as JSON lines without their instants, the key in hexadecimal digits."""
    yield from _canonical_lines(frame.select(_DIGESTED).with_columns(pl.col("account_key").bin.encode("hex")))


def _canonical_lines(frame: pl.DataFrame) -> Iterator[bytes]:
    for start in range(0, frame.height, _DIGEST_ROWS):
        yield frame.slice(start, _DIGEST_ROWS).write_ndjson().encode()


def _seal_of(path: Path, rows: int) -> dict[str, Any]:
    fsync_file(path)
    with path.open("rb") as file:
        return {"rows": rows, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _close(out: Path, facts: SnapshotFacts, instants: tuple[datetime, datetime]) -> None:
    """Write the snapshot's own description, last, and make the folder durable."""
    document = {
        "format_version": FORMAT_VERSION,
        "digest": facts.digest,
        "parts": facts.parts,
        "started_at": instants[0].isoformat(),
        "finished_at": instants[1].isoformat(),
        "repeated": facts.repeated,
        "tenants": facts.tenants,
        "files": facts.files,
    }
    for folder in {(out / name).parent for name in facts.files}:
        fsync_folder(folder)
    write_atomically(out / _FACTS, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


_FACTS = "snapshot.json"
_UNMARKED = "unmarked/accounts.parquet"
_DELETED = "deleted/accounts.parquet"
_STRANGERS = "unmarked/members.parquet"


def _part_name(part: int) -> str:
    return f"part={part:03}/accounts.parquet"


def _members_name(part: int) -> str:
    return f"part={part:03}/members.parquet"


def _groups_name(tenant: str) -> str:
    return f"groups/{tenant}.parquet"


def _addresses_name(tenant: str) -> str:
    return f"addresses/{tenant}.parquet"


def adopt_snapshot(source: Path, folder: Path) -> None:
    """Put a sealed snapshot at `folder` too: the same files under second names where the file system can, else copies.

    Sealed files are never written again, so that a second name is as good as a copy. Raises InputError when `source` is no snapshot
    or lacks a file.
    """
    facts = read_facts(source)
    temporary = folder.with_name(folder.name + PART_SUFFIX)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name in [*facts.files, _FACTS]:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            _second_name(source / name, temporary / name)
        temporary.replace(folder)
    except FileNotFoundError as error:
        raise InputError(f"a file of the snapshot is missing: {error.filename}", hint="take it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _second_name(source: Path, place: Path) -> None:
    try:
        place.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without second names
        shutil.copyfile(source, place)


def read_facts(folder: Path) -> SnapshotFacts:
    """What the snapshot says about itself. Raises InputError when it is no snapshot, or one of another format."""
    try:
        document = orjson.loads((folder / _FACTS).read_bytes())
        if document["format_version"] != FORMAT_VERSION:
            raise InputError(f"the snapshot has another format: {document['format_version']}")
        return SnapshotFacts(
            document["digest"], document["parts"], document["tenants"], document["files"], document["repeated"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no snapshot: {folder}", hint="take one again") from error


def snapshot_digest(folder: Path) -> str:
    """SHA-256 over the content: accounts in key order, unmarked accounts by tenant and id, addresses, units, domains, customer ids.

    Instants, page order, files and the number of parts do not enter it: parts are cut by the key's top bits and sorted by
    key, so part after part is one order whatever their number.
    """
    return read_facts(folder).digest


def read_part(folder: Path, part: int) -> pl.DataFrame:
    """Accounts with our marker of one part: schemas.OBSERVED, sorted by account key. Raises InputError when the file is damaged."""
    return _read_sealed(folder, _part_name(part), OBSERVED)


def seen_in_snapshot(folder: Path, keys: pl.Series) -> pl.DataFrame | None:
    """Accounts (schemas.OBSERVED) with these account keys, one part in memory at a time; None when there is no readable snapshot."""
    wanted = pl.DataFrame({"account_key": keys}, schema={"account_key": pl.Binary}).unique()
    try:
        parts = range(read_facts(folder).parts if wanted.height else 0)
        seen = [read_part(folder, part).join(wanted, on="account_key", how="semi") for part in parts]
    except InputError:
        return None
    return pl.concat([OBSERVED.to_frame(), *seen])


def read_unmarked(folder: Path) -> pl.DataFrame:
    """Accounts without a marker of ours, schemas.OBSERVED with null keys. Raises InputError when the file is damaged."""
    return _read_sealed(folder, _UNMARKED, OBSERVED)


def read_deleted(folder: Path) -> pl.DataFrame:
    """Deleted accounts that can still be restored, schemas.DELETED. Raises InputError when the file is damaged."""
    return _read_sealed(folder, _DELETED, DELETED)


def read_addresses(folder: Path) -> pl.DataFrame:
    """Local parts in sight of all tenants: schemas.ADDRESSES, each once a tenant. Raises InputError when a file is damaged."""
    tenants = read_facts(folder).tenants
    return pl.concat(
        [
            ADDRESSES.to_frame(),
            *(_read_sealed(folder, _addresses_name(tenant), ADDRESSES) for tenant in sorted(tenants)),
        ]
    )


def address_files(folder: Path) -> list[Path]:
    """The files that `read_addresses` reads, each checked against its seal: for readers that cannot hold them.

    Raises InputError when a file is missing or damaged.
    """
    facts = read_facts(folder)
    names = [name for tenant in sorted(facts.tenants) if (name := _addresses_name(tenant)) in facts.files]
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                _check_seal(folder / name, hashlib.file_digest(file, "sha256").hexdigest(), facts.files[name])
        except OSError as error:
            raise _missing(folder / name) from error
    return [folder / name for name in names]


def read_groups_of(folder: Path, tenant: str) -> pl.DataFrame | None:
    """A tenant's groups, schemas.OBSERVED_GROUP, sorted by id; None where they were not asked for. Raises InputError when damaged."""
    if _groups_name(tenant) not in read_facts(folder).files:
        return None
    return _read_sealed(folder, _groups_name(tenant), OBSERVED_GROUP)


def read_members_of(folder: Path, part: int) -> pl.DataFrame:
    """Members of our groups whose accounts are in a part: schemas.OBSERVED_MEMBER, sorted. Raises InputError when damaged."""
    return _read_sealed(folder, _members_name(part), OBSERVED_MEMBER)


def read_strangers(folder: Path) -> pl.DataFrame:
    """Members of our groups that are no accounts of ours: schemas.OBSERVED_MEMBER with null keys. Raises InputError when damaged."""
    return _read_sealed(folder, _STRANGERS, OBSERVED_MEMBER)


def orgunits(folder: Path, tenant: str) -> set[str]:
    """Paths of a tenant's organisational units below the root."""
    return set(read_facts(folder).tenants[tenant]["orgunits"])


def _read_sealed(folder: Path, name: str, schema: pl.Schema) -> pl.DataFrame:
    """One file of the snapshot, if its bytes are those that were sealed."""
    sealed = read_facts(folder).files.get(name)
    if sealed is None:
        return schema.to_frame()
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _missing(folder / name) from error
    _check_seal(folder / name, hashlib.sha256(content).hexdigest(), sealed)
    return _typed(pl.read_parquet(io.BytesIO(content)), schema)


def _check_seal(path: Path, digest: str, sealed: Mapping[str, Any]) -> None:
    if digest != sealed["sha256"]:
        raise InputError(f"a file of the snapshot is damaged: {path}", hint="take it again")


def _missing(path: Path) -> InputError:
    return InputError(f"a file of the snapshot is missing: {path}", hint="take it again")


def _typed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The schema's columns in its order and types: a file may hold fixed-size bytes or dictionaries where polars has neither."""
    return frame.select(schema.names()).cast(schema)
