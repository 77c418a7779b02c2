"""The emulator's pure parts: ids, page tokens, lists, checks of the discovery document."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from belajarid_recon.cli.emulator import emulator
from belajarid_recon.cli.main import app
from belajarid_recon.emulator.accounts import checked_local_part
from belajarid_recon.emulator.discovery import load_discovery
from belajarid_recon.emulator.faults import KINDS
from belajarid_recon.emulator.index import Index
from belajarid_recon.emulator.pages import LIFE_SECONDS, PageTokens
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.emulator.service import Service
from belajarid_recon.emulator.settings import EmulatorLag, EmulatorQuotas, EmulatorSettings
from belajarid_recon.emulator.users import AccountIds
from belajarid_recon.schemas import Jenjang

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
USER = load_discovery().schema("User")["properties"]


def test_the_page_names_what_there_is() -> None:
    """Every kind of fault, every start setting and every option of the command is on the emulator's page."""
    page = (Path(__file__).parent.parent / "docs" / "emulator.md").read_text(encoding="utf-8")
    settings = (field.name for kind in (EmulatorSettings, EmulatorQuotas, EmulatorLag) for field in fields(kind))
    options = (option.opts[0] for option in get_command(app).commands["emulator"].params)
    names = [*KINDS, *settings, *options]
    assert [name for name in names if name not in page] == []


@pytest.mark.parametrize("place", ["page", "help"])
def test_the_page_and_the_help_list_the_methods(tmp_path: Path, place: str) -> None:
    """Exactly the methods that are offered are in the table of the page and in the list that --help prints."""
    service = Service(EmulatorSettings(tmp_path, tenants=(Jenjang.SD,)), "http://127.0.0.1:1/")
    offered = service.offered
    service.close()
    page = (Path(__file__).parent.parent / "docs" / "emulator.md").read_text(encoding="utf-8")
    text, row = {
        "page": (page, r"^\| ([\w.]+) \| ([\w, ]+) \|.*\|$"),
        "help": (emulator.__doc__ or "", r"^    - ([\w.]+): ([\w, ]+)$"),
    }[place]
    resources = {name.rpartition(".")[0] for name in offered}
    rows = [match for match in re.findall(row, text, re.MULTILINE) if match[0] in resources]
    assert {f"{resource}.{method}" for resource, methods in rows for method in methods.split(", ")} == offered


@given(seed=st.integers(0, 2**31), number=st.integers(0, 2**52))
def test_an_id_has_21_digits_and_leads_back(seed: int, number: int) -> None:
    """Ids are as long as Google's and each belongs to one number."""
    ids = AccountIds(seed)
    identity = ids.of(number)
    assert len(identity) == 21
    assert ids.number(identity) == number


@given(st.text(max_size=30))
def test_no_text_breaks_the_way_back(key: str) -> None:
    """What is no id has no number."""
    number = AccountIds(0).number(key)
    assert number is None or AccountIds(0).of(number) == key


@given(JSON)
def test_any_json_passes_or_is_told_where_it_fails(value: Any) -> None:
    """A check never raises, and what passes has known fields only."""
    fault = load_discovery().check_of("User")(value)
    if fault is None:
        assert set(value) <= set(USER)


@given(st.sampled_from(sorted(USER)), JSON)
def test_each_field_takes_its_own_type_only(field: str, value: Any) -> None:
    """Null passes everywhere; a value passes only as its schema's type, `any` included."""
    fault = load_discovery().check_of("User")({field: value})
    kinds = {"string": str, "boolean": bool}
    kind = kinds.get(USER[field].get("type"))
    if value is None:
        assert fault is None
    elif kind is not None:
        assert (fault is None) == (type(value) is kind)
    elif fault is None:
        assert type(value) in (dict, list)


def test_every_method_of_the_document_is_found_by_its_own_path() -> None:
    """128 methods: a path made from a method's template leads to that method or to one that Google's own routing prefers."""
    discovery = load_discovery()
    assert len(discovery.methods) == 128
    ambiguous = set()
    for name, method in discovery.methods.items():
        path = method.pattern.pattern.replace("(customers/[^/]+)", "customers/C1").replace("\\", "")
        for group in ("([^/:]+)", "([^/]+)", "(.*)"):
            path = path.replace(group, "x1")
        path = path.replace("(customers/[^/]+/chrome/printers/[^/]+)", "customers/C1/chrome/printers/x1")
        path = path.replace("(customers/[^/]+/chrome/printServers/[^/]+)", "customers/C1/chrome/printServers/x1")
        found = discovery.find(method.verb, path)
        if found is None or found[0].name != name:
            ambiguous.add(name)
    assert ambiguous == set()


@given(
    tenant=st.sampled_from(["sd", "smp"]),
    query=st.dictionaries(
        st.sampled_from(["domain", "customer", "query", "showDeleted"]), st.text(max_size=6), max_size=3
    ),
    after=st.tuples(st.text(max_size=20), st.integers(0, 2**53)),
    age=st.floats(0, LIFE_SECONDS),
)
def test_a_page_token_leads_back_to_its_place(
    tenant: str, query: dict[str, str], after: tuple[str, int], age: float
) -> None:
    """Within three days the same query gets its place back; another query, tenant, key or byte does not."""
    pages = PageTokens(b"k" * 32)
    token = pages.issue(tenant, query, after, 100.0)
    again = {**query, "pageToken": token, "maxResults": "7"}
    assert pages.read(tenant, again, 100.0 + age) == after
    for reader, who, asked, now in (
        (PageTokens(b"x" * 32), tenant, again, 100.0),
        (pages, "slb", again, 100.0),
        (pages, tenant, {**again, "orderBy": "email"}, 100.0),
        (pages, tenant, again, 101.0 + LIFE_SECONDS),
        (pages, tenant, {**again, "pageToken": "A" + token}, 100.0),
    ):
        with pytest.raises(ApiError):
            reader.read(who, asked, now)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["add", "rename", "free"])), max_size=60))
def test_the_index_agrees_with_a_plain_table(steps: list[tuple[str, str]]) -> None:
    """After any steps: an address leads to its account, and a list holds exactly the live primary addresses, sorted."""
    index = Index()
    live: dict[str, list[str]] = {}  # key of the account -> its addresses, the primary one last
    for count, (key, step) in enumerate(steps):
        address = f"{key}{count}@sd.belajar.id"
        number = ord(key)
        if step == "add" and key not in live:
            index.add_primary(address, number)
            live[key] = [address]
        elif step == "rename" and key in live:
            index.demote(live[key][-1])
            index.add_primary(address, number)
            live[key].append(address)
        elif step == "free" and key in live:
            *aliases, primary = live.pop(key)
            index.free(primary, aliases)
    taken = {address: ord(key) for key, addresses in live.items() for address in addresses}
    assert {address: index.number(address) for address in taken} == taken
    assert index.number("nobody@sd.belajar.id") is None
    primaries = sorted(addresses[-1] for addresses in live.values())
    assert index.listing("sd.belajar.id").after("", 1_000) == primaries
    for address in primaries:
        assert index.listing("sd.belajar.id").after(address, 1) == primaries[primaries.index(address) + 1 :][:1]


@given(st.text(alphabet="aZ09._'-+&@ \u00e9", max_size=70))
def test_an_accepted_address_obeys_the_rules(text: str) -> None:
    """Whatever passes is lower case, has no dot in a wrong place, and at most 64 characters before the @."""
    try:
        address, domain = checked_local_part(f"{text}@sd.belajar.id")
    except ApiError:
        return
    local = address.rpartition("@")[0]
    assert domain == "sd.belajar.id"
    assert local == local.lower()
    assert set(local) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_'.")
    assert not local.startswith(".")
    assert not local.endswith(".")
    assert ".." not in local
    assert 1 <= len(local) <= 64
