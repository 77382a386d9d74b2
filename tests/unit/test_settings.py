"""Settings: arguments over environment over file over defaults, and each value knows its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from taskyard.core.errors import BadSetting
from taskyard.settings import Settings, normal_url

# Requirement 5's example, to the letter.
CONFIG_JSON = """{
  "database": {
    "host": "localhost",
    "port": 3306,
    "username": "root",
    "password": "your_password",
    "database": "xxljob_executor",
    "charset": "utf8mb4"
  },
  "executor": {
    "server_id": "server-001"
  },
  "queue": {
    "enable": true,
    "config_sync_interval": 10
  }
}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path / 'taskyard.db'}"
    assert settings.server_id
    assert settings.runners >= 1
    assert (settings.host, settings.port) == ("127.0.0.1", 9999)
    assert (settings.lease, settings.beat, settings.margin) == (30.0, 5.0, 5.0)
    assert settings.config_sync_interval == 10.0
    assert settings.retention.runs_max_rows == 100_000
    assert settings.prune_at == "00:00"
    assert settings.folder == tmp_path
    assert {source for _, _, source in settings.shown()} == {"default"}


def test_arguments_beat_environment_beats_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "taskyard.toml", 'lease = "1m"\nport = 1000\ngrace = 5\nhost = "::1"')
    monkeypatch.setenv("TASKYARD_LEASE", "2m")
    monkeypatch.setenv("TASKYARD_PORT", "2000")
    settings = Settings.load(tmp_path, lease="3m")
    assert (settings.lease, settings.source("lease")) == (180.0, "argument")
    assert (settings.port, settings.source("port")) == (2000, "environment TASKYARD_PORT")
    assert (settings.grace, settings.source("grace")) == (5.0, str(file))
    assert settings.source("runners") == "default"


def test_each_retention_value_has_a_source_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "taskyard.toml", '[retention]\nruns_max_age = "30d"\nruns_max_rows = 7')
    monkeypatch.setenv("TASKYARD_RETENTION__RUNS_MAX_ROWS", "5")
    settings = Settings.load(tmp_path)
    assert settings.retention.runs_max_rows == 5
    assert settings.retention.runs_max_age == 30 * 86_400
    assert settings.retention.tasks_max_age is None
    assert settings.source("retention.runs_max_age") == str(file)
    variable = "environment TASKYARD_RETENTION__RUNS_MAX_ROWS"
    assert settings.source("retention.runs_max_rows") == variable
    assert settings.source("retention.tasks_max_age") == "default"


def test_an_argument_that_is_none_and_an_empty_variable_are_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_APP", "")
    settings = Settings.load(tmp_path, port=None)
    assert (settings.port, settings.app) == (9999, None)


def test_the_config_json_of_requirement_5_is_understood(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", CONFIG_JSON)
    settings = Settings.load(tmp_path / "logs")
    url = make_url(settings.database_url)
    assert url.drivername == "mysql+pymysql"
    assert (url.host, url.port, url.username) == ("localhost", 3306, "root")
    assert (url.password, url.database) == ("your_password", "xxljob_executor")
    assert url.query == {"charset": "utf8mb4"}
    assert settings.server_id == "server-001"
    assert settings.queue_enable is True
    assert settings.config_sync_interval == 10.0
    assert settings.source("server_id") == str(file)


def test_any_password_in_config_json_arrives_whole(tmp_path: Path) -> None:
    config = json.loads(CONFIG_JSON)
    config["database"]["password"] = "a@b:c/d?e#f%20 ü"
    write(tmp_path / "config.json", json.dumps(config))
    assert make_url(Settings.load(tmp_path).database_url).password == "a@b:c/d?e#f%20 ü"


def test_queues_can_be_switched_off_in_config_json(tmp_path: Path) -> None:
    write(tmp_path / "config.json", '{"queue": {"enable": false}}')
    assert Settings.load(tmp_path).queue_enable is False


@pytest.mark.parametrize(
    "text",
    ['{"name": "web", "database": {"file": "x"}}', "[1]", "{broken", '{"queue": "amqp://x"}', "{}"],
)
def test_another_programs_config_json_is_left_alone(tmp_path: Path, text: str) -> None:
    write(tmp_path / "config.json", text)
    assert Settings.load(tmp_path).source("server_id") == "default"


def test_the_nearest_file_counts_and_toml_before_json(tmp_path: Path) -> None:
    write(tmp_path / "config.json", CONFIG_JSON)
    write(tmp_path / "a" / "taskyard.toml", 'server_id = "near"')
    write(tmp_path / "taskyard.toml", 'server_id = "far"')
    (tmp_path / "a" / "b").mkdir()
    assert Settings.load(tmp_path / "a" / "b").server_id == "near"
    assert Settings.load(tmp_path).server_id == "far"


def test_paths_in_a_file_count_from_its_folder_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "taskyard.toml", 'database_url = "sqlite:///data/jobs.db"\nlog_dir = "logs"')
    (tmp_path / "sub").mkdir()
    settings = Settings.load(tmp_path / "sub")
    assert settings.database_url == f"sqlite:///{tmp_path / 'data' / 'jobs.db'}"
    assert settings.log_dir == tmp_path / "logs"
    assert settings.folder == tmp_path
    monkeypatch.setenv("TASKYARD_DATABASE_URL", "sqlite:///mine.db")
    here = Settings.load(tmp_path / "sub")
    assert here.database_url == f"sqlite:///{tmp_path / 'sub' / 'mine.db'}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("mysql://root@h:3307/d", "mysql+pymysql://root@h:3307/d"),
        ("mariadb://root@h/d", "mysql+pymysql://root@h/d"),
        ("mysql+mysqldb://root@h/d", "mysql+mysqldb://root@h/d"),
        ("MySQL://root@h/d", "mysql+pymysql://root@h/d"),
        ("sqlite:///jobs.db", "sqlite:///jobs.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_an_address_as_people_write_it_gets_its_driver(written: str, meant: str) -> None:
    assert normal_url(written) == meant


@pytest.mark.parametrize("text", ["", "jobs.db", "oracle://u:canary@h/d", "postgresql:/u:canary@h"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a database address; write sqlite:///FILE"):
        normal_url(text)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lease": 0.5}, "Setting lease (argument): input should be greater than or equal to 1."),
        ({"leese": 1}, 'Setting leese (argument): unknown. Did you mean "lease"?'),
        ({"grace": "soon"}, 'Setting grace (argument): "soon" is not a duration;'),
        ({"prune_at": "25:00"}, 'Setting prune_at (argument): "25:00" is not a time of day'),
        ({"default_time_zone": "Mars/X"}, 'default_time_zone (argument): "Mars/X" is not an IANA'),
        ({"default_time_zone": "../x"}, "is not an IANA"),
        ({"port": 70_000}, "Setting port (argument): "),
        ({"runners": 0}, "Setting runners (argument): "),
        ({"server_id": "x" * 51}, "Setting server_id (argument): "),
        ({"retention": {"runs_max_age": "x"}}, "Setting retention.runs_max_age (argument): "),
        ({"retention": {"nope": 1}}, "Setting retention.nope (argument): "),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    tmp_path: Path, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.load(tmp_path, **values)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_setting_of_a_file_or_a_variable_names_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "taskyard.toml", "portt = 1")
    with pytest.raises(BadSetting, match=r"portt.*Did you mean") as caught:
        Settings.load(tmp_path)
    assert caught.value.source == str(file)
    write(file, "port = [")
    with pytest.raises(BadSetting, match=r"taskyard.toml.*cannot be read: Invalid value"):
        Settings.load(tmp_path)
    file.unlink()
    monkeypatch.setenv("TASKYARD_LEASE", "abc")
    with pytest.raises(BadSetting, match="environment TASKYARD_LEASE"):
        Settings.load(tmp_path)


def test_no_password_is_ever_shown(tmp_path: Path) -> None:
    url = "postgresql://app:canary@db/jobs"
    settings = Settings.load(tmp_path, database_url=url, smtp_password="canary")
    assert "canary" not in f"{settings} {settings!r} {settings.shown()}"
    assert make_url(settings.database_url).password == "canary"
    with pytest.raises(BadSetting) as caught:
        Settings.load(tmp_path, database_url="oracle://app:canary@db/jobs")
    assert "canary" not in f"{caught.value} {caught.value.__context__}"


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings: Any = Settings.load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.lease = 1.0


def test_another_process_gets_them_as_they_are(tmp_path: Path) -> None:
    write(
        tmp_path / "taskyard.toml", 'behind_proxy = ["10.0.0.0/8"]\nretention.runs_max_age = "1d"'
    )
    given = {
        "database_url": "postgresql://app:x@db/jobs",
        "log_dir": tmp_path,
        "smtp_password": "x",
    }
    settings = Settings.load(tmp_path, allowed_hosts="a.example, b.example", **given)
    again = Settings.from_json(settings.to_json())
    assert again == settings
    assert again.shown() == settings.shown()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everywhere", "10.0.0.0/8,x"])
def test_a_proxy_is_named_by_its_network(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSetting, match=r"behind_proxy.*write a network"):
        Settings.load(tmp_path, behind_proxy=text)
