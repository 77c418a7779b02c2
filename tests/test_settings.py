"""Settings: what cannot be meant is refused, with its place, and without repeating values."""

from __future__ import annotations

from pathlib import Path

import pytest

from belajarid_recon.errors import ExitStatus, SettingsError
from belajarid_recon.schemas import Action, Jenjang
from belajarid_recon.settings import Settings, load_settings

SETTINGS = """
state = "state"
[endpoint]
class = "emulator"
url = "http://127.0.0.1:8787/"
[tenants.sd]
customer_id = "C01"
credentials_file = "sd.json"
"""
SENDER = '[[tenants.sd.more_senders]]\ncredentials_file = "second.json"\n'


def settings_with(folder: Path, more: str) -> Settings:
    """The smallest settings, and more."""
    path = folder / "recon.toml"
    path.write_text(SETTINGS + more, encoding="utf-8")
    return load_settings(path)


REFUSED = {
    "no calls": ("[quotas.sd]\ncalls_per_minute = 0", "quotas.sd.calls_per_minute"),
    "fewer than none": (
        "[quotas.sd]\ncreations_per_second_and_domain = -1",
        "quotas.sd.creations_per_second_and_domain",
    ),
    "no units": ("[quotas.sd]\norgunit_writes_per_second = 0", "quotas.sd.orgunit_writes_per_second"),
    "no policies": ("[quotas.sd]\npolicy_writes_per_minute = 0", "quotas.sd.policy_writes_per_minute"),
    "no devices": ("[quotas.sd]\ndevice_writes_per_minute = 0", "quotas.sd.device_writes_per_minute"),
    "half a call": ("[quotas.sd]\ncalls_per_minute = 0.5", "quotas.sd.calls_per_minute"),
    "a truth": ("[quotas.sd]\ncalls_per_minute = true", "quotas.sd.calls_per_minute"),
    "a text": ('[quotas.sd]\ncalls_per_minute = "2400"', "quotas.sd.calls_per_minute"),
    "no number": ("[quotas.sd]\ncalls_per_minute = nan", "quotas.sd.calls_per_minute"),
    "more than there are": ("[quotas.sd]\ncalls_per_minute = 10000000000", "quotas.sd.calls_per_minute"),
    "a misspelt quota": ("[quotas.sd]\ncalls_per_hour = 5", "quotas.sd.calls_per_hour"),
    "another's quotas": ("[quotas.smp]\ncalls_per_minute = 5", "no tenant here: smp"),
    "no window": ("[apply]\nin_flight = 0", "apply.in_flight"),
    "no patience": ("[apply]\nlag_seconds = nan", "apply.lag_seconds"),
    "a lane twice": ('[apply]\nlanes = ["create", "create"]', "twice"),
    "an unknown lane": ('[apply]\nlanes = ["cosmetics"]', "apply.lanes"),
    "units as a lane": ('[apply]\nlanes = ["create-orgunit"]', "units always come first"),
    "nobody agreed": (SENDER, "agreed_by"),
    "no day": (SENDER + 'agreed_by = "Pusdatin"', "agreed_on"),
    "an empty name": (SENDER + 'agreed_by = ""\nagreed_on = 2026-11-01', "agreed_by"),
    "a day that is none": (SENDER + 'agreed_by = "Pusdatin"\nagreed_on = "soon"', "agreed_on"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    """Each is one settings error that names the entry."""
    more, place = REFUSED[case]
    with pytest.raises(SettingsError) as refused:
        settings_with(tmp_path, more)
    assert place in refused.value.message
    assert refused.value.exit_status is ExitStatus.SETTINGS_REFUSED
    assert refused.value.hint


def test_a_further_sender_is_accepted_with_who_agreed(tmp_path: Path) -> None:
    """Its file is looked for beside the settings, like the tenant's own."""
    agreed = SENDER + 'subject = "dua@admin.sd.belajar.id"\nagreed_by = "Pusdatin"\nagreed_on = 2026-11-01'
    (sender,) = settings_with(tmp_path, agreed).tenants[Jenjang.SD].more_senders
    assert (sender.credentials_file, sender.agreed_by) == (tmp_path / "second.json", "Pusdatin")


def test_lanes_keep_their_order(tmp_path: Path) -> None:
    """As typed."""
    chosen = settings_with(tmp_path, '[apply]\nlanes = ["suspend", "create"]')
    assert chosen.apply.lanes == (Action.SUSPEND, Action.CREATE)
