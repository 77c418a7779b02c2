"""The emulator counts requests that the discovery document does not know, and, when asked, replies that it does not."""

from __future__ import annotations

from pathlib import Path

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.replies import Answer
from belajarid_recon.emulator.service import Service
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain

SD = Jenjang.SD


def test_what_does_not_fit_is_counted(tmp_path: Path):
    """By method; a request that is only refused for what it asks is not among it."""
    with EmulatorProcess(EmulatorSettings(tmp_path, tenants=(SD,), check_replies=True)) as emulator:
        sd = Plain(emulator, SD)
        body = {
            "primaryEmail": "a@sd.belajar.id",
            "name": {"givenName": "A", "familyName": "B"},
            "password": "12345678",
        }
        assert sd("POST", "users", body)[0] == 200
        assert sd("POST", "users", body)[0] == 409
        assert emulator.stats()["unfit_requests"] == {}
        assert sd("POST", "users", body | {"nama": "A"})[0] == 400
        assert sd("GET", "users/a@sd.belajar.id?nama=A")[0] == 400
        assert sd("GET", "users?domain=sd.belajar.id")[0] == 200
        stats = emulator.stats()
    assert stats["unfit_requests"] == {"users.insert": 1, "users.get": 1}
    assert (stats["checked_replies"], stats["unfit_replies"]) == (2, {})


def test_a_reply_that_does_not_fit_is_named(tmp_path: Path):
    """With its method and its field, and not its value."""
    service = Service(EmulatorSettings(tmp_path, tenants=(SD,), check_replies=True), "http://127.0.0.1:9/")
    answer = Answer(200, b'{"kind":"x","rahasia":"nilai"}')
    service._check_reply(service.discovery.methods["users.get"], answer)
    service._check_reply(service.discovery.methods["users.delete"], answer)
    faults = service.statistics.describe()["unfit_replies"]
    assert faults == {
        "users.delete": {" is not empty": 1},
        "users.get": {": unknown name 'rahasia': cannot find field": 1},
    }
