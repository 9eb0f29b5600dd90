"""Settings: the file that `init` writes names every one, and the environment goes before it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pli_server.environment import overridden
from pli_server.errors import OperatorError
from pli_server.settings import FILE_NAME, Settings, decode_value, load
from pli_server.settings_file import descriptions, template

SECTIONS = [
    type(field.default)
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, msgspec.Struct)
]


def written(tmp_path: Path, text: str) -> Settings:
    (tmp_path / FILE_NAME).write_text(text)
    return load(tmp_path)


def uncommented(text: str) -> dict[str, Any]:
    return tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))


def test_the_file_names_every_setting_with_its_default() -> None:
    data = uncommented(template("pli.example", "127.0.0.1:8440"))
    _same(msgspec.convert(data, Settings, dec_hook=decode_value), Settings("pli.example"), data)


def _same(shown: msgspec.Struct, expected: msgspec.Struct, data: dict[str, Any]) -> None:
    names = [field.name for field in msgspec.structs.fields(type(expected))]
    assert set(data) == set(names)
    for name in names:
        value = getattr(expected, name)
        if isinstance(value, msgspec.Struct):
            _same(getattr(shown, name), value, data[name])
        elif value is not None:
            assert getattr(shown, name) == value


@pytest.mark.parametrize("section", [Settings, *SECTIONS], ids=lambda kind: kind.__name__)
def test_every_setting_is_described(section: type[msgspec.Struct]) -> None:
    plain = {
        field.name
        for field in msgspec.structs.fields(section)
        if not isinstance(field.default, msgspec.Struct)
    }
    assert plain <= set(descriptions(section))


def test_as_it_is_the_file_changes_nothing(tmp_path: Path) -> None:
    assert written(tmp_path, template("pli.example", "127.0.0.1:8440")) == Settings("pli.example")


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PLI_NAME": "7",
        "PLI_LISTEN": "127.0.0.1:9",
        "PLI_LIMITS_CONNECTIONS": "12",
        "PLI_METRICS_ENABLED": "false",
        "PLI_LOG_FORMAT": "json",
        "PLI_UNKNOWN": "is somebody else's",
    }.items():
        monkeypatch.setenv(name, value)
    settings = written(tmp_path, 'name = "pli.example"\n[limits]\nblob_bytes = 4096\n')
    assert (settings.name, settings.listen) == ("7", "127.0.0.1:9")
    assert (settings.limits.connections, settings.limits.blob_bytes) == (12, 4096)
    assert (settings.metrics.enabled, settings.log.format) == (False, "json")


def test_a_list_is_given_by_its_commas() -> None:
    class Listed(msgspec.Struct):
        names: tuple[str, ...] = ()

    assert overridden({}, Listed, {"PLI_NAMES": "10.0.0.1, 10.1.0.0/16"}) == {
        "names": ["10.0.0.1", "10.1.0.0/16"]
    }


def test_a_secret_comes_from_a_file_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("/run/key.pem\n")
    monkeypatch.setenv("PLI_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("PLI_CERTIFICATE", "/run/chain.pem")
    assert written(tmp_path, 'name = "x"').key == "/run/key.pem"
    monkeypatch.setenv("PLI_KEY", "another")
    with pytest.raises(OperatorError, match="both given"):
        load(tmp_path)
    monkeypatch.delenv("PLI_KEY")
    monkeypatch.setenv("PLI_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(OperatorError, match="PLI_KEY_FILE"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PLI_LIMITS_CONNECTIONS", "many", "limits.connections"),
        ("PLI_LOG_LEVEL", "loud", "log.level"),
        ("PLI_METRICS_ENABLED", "1", "metrics.enabled"),
    ],
)
def test_a_wrong_value_in_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(OperatorError, match=said):
        written(tmp_path, 'name = "x"')


@pytest.mark.parametrize(
    "setting",
    [
        'database_url = "postgresql://pli:hunter2@db/pli"',
        'database_url = "postgresql://pli:hun/ter2@db/pli"',
        'database_url = "postgresql://db/pli?user=pli&password=hunter2"',
        'database_url = "postgresql://pli@db/pli?sslpassword=hunter2"',
        '[bus]\nurl = "nats://pli:hunter2@bus"',
        '[bus]\nurl = "nats://hunter2@bus"',
        '[bus]\nurl = "nats://bus,tls://hunter2@bus2"',
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path: Path, setting: str) -> None:
    with pytest.raises(OperatorError, match="PLI_(DATABASE|BUS)_URL_FILE") as refused:
        written(tmp_path, f'name = "x"\n{setting}\n')
    assert "ter2" not in str(refused.value)


def test_a_user_s_name_in_the_file_is_no_password(tmp_path: Path) -> None:
    written(tmp_path, 'name = "x"\ndatabase_url = "postgresql://pli@db:5432/pli?sslmode=require"\n')
