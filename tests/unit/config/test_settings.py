"""Settings are read from a file and the environment alone, and refused with the name of the key."""

import json
from email.header import decode_header, make_header
from email.utils import getaddresses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import ConfigError, Settings
from app.config.values import sender

TWILIO = """
[providers.twilio]
account_sid = "AC1"
auth_token = "hush-hush"
from = "+15005550006"
"""


def of_file(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "tocsin.toml"
    path.write_text(text)
    return Settings.load({"TOCSIN_CONFIG": str(path), **environ})


def test_without_a_file_the_contracts_defaults_hold() -> None:
    settings = Settings.load({})

    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 8080)
    assert (settings.operations.host, settings.operations.port) == ("127.0.0.1", 0)
    assert (settings.kafka.partitions, settings.clickhouse.retention_days) == (8, 90)
    assert settings.providers.configured() == {}


def test_the_process_environment_is_not_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_GATEWAY__PORT", "9999")

    assert Settings.load({}).gateway.port == 8080


def test_the_environment_overrides_single_keys_of_the_file(tmp_path: Path) -> None:
    settings = of_file(
        tmp_path,
        '[gateway]\nport = 81\nhost = "::1"\n' + TWILIO,
        TOCSIN_GATEWAY__PORT="82",
        TOCSIN_PROVIDERS__TWILIO__BASE_URL="http://localhost:7",
    )

    assert (settings.gateway.host, settings.gateway.port) == ("::1", 82)
    assert settings.providers.twilio is not None
    assert (settings.providers.twilio.base_url, settings.providers.twilio.from_) == (
        "http://localhost:7",
        "+15005550006",
    )


def _bound_key(certificate: str) -> str:
    key = {"id": "shop", "sha256": "0" * 64, "scopes": ["send"], "certificates": [certificate]}
    return json.dumps([key])


def test_lists_and_tables_come_from_the_environment_as_json() -> None:
    key = '[{"id": "demo", "sha256": "' + "0" * 64 + '", "source": "shop", "scopes": ["send", "read"]}]'

    settings = Settings.load({"TOCSIN_AUTH__API_KEYS": key, "TOCSIN_PROVIDERS__SNS": '{"region": "eu-west-1"}'})

    assert settings.auth.api_keys[0].scopes == ("send", "read")
    assert list(settings.providers.configured()) == ["sns"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TOCSIN_GATEWAY__PORT": "http"}, "gateway.port: "),
        ({"TOCSIN_GATEWAY__PRT": "1"}, "gateway.prt: unknown key"),
        ({"TOCSIN_GATWAY__PORT": "1"}, "TOCSIN_GATWAY__PORT: unknown section"),
        ({"TOCSIN_GATEWAY_PORT": "1"}, "TOCSIN_GATEWAY_PORT: unknown; two underscores separate section and key"),
        ({"TOCSIN_GATEWAY__SIGNING_KEYS": "[oops"}, "TOCSIN_GATEWAY__SIGNING_KEYS: lists and tables are given as JSON"),
        ({"TOCSIN_PROVIDERS__SNS__TIMEOUT": "1s"}, "providers.sns.region: required"),
        ({"TOCSIN_CLICKHOUSE__URL": "https://u:p@h"}, "clickhouse.url: malformed"),
        ({"TOCSIN_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "kafka: sasl_username and sasl_password are required"),
        ({"TOCSIN_INSTANCE": "../x"}, "instance: malformed"),
        ({"TOCSIN_AUTH__JWT__AUDIENCE": "x"}, "auth.jwt: exactly one of secret and jwks_url"),
        ({"TOCSIN_AUTH__JWT__SECRET": "x" * 31}, "auth.jwt: secret: must be at least 32 bytes long"),
        (
            {"TOCSIN_GATEWAY__SIGNING_KEYS": '["short", "%s"]' % ("k" * 32)},
            "gateway.signing_keys: the first, which signs",
        ),
        ({"TOCSIN_AUTH__JWT__JWKS_URL": "https://x.example"}, "auth.jwt: audience is required with jwks_url"),
        (
            {"TOCSIN_AUTH__API_KEYS": _bound_key("dns:shop.internal")},
            "auth.api_keys: certificates of shop need gateway.",
        ),
        (
            {"TOCSIN_AUTH__API_KEYS": _bound_key("shop.internal")},
            "auth.api_keys.0.certificates.0: a certificate is named",
        ),
        ({"TOCSIN_GATEWAY__CERT_FILE": "a.pem"}, "gateway: cert_file and key_file are required together"),
        ({"TOCSIN_GATEWAY__CLIENT_CA_FILE": "ca.pem"}, "gateway: client_ca_file needs cert_file and key_file"),
        ({"TOCSIN_CONFIG": "/no/such.toml"}, "TOCSIN_CONFIG: can't read /no/such.toml"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_the_key(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings.load(environ)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        of_file(tmp_path, "[gateway]\nport = -1\n[operations]\nport = 'x'\n[nowhere]\n")

    assert [part.split(":")[0] for part in str(refused.value).split("; ")] == [
        "gateway.port",
        "operations.port",
        "nowhere",
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "https://example.com"])
def test_plain_http_is_accepted_to_loopback(tmp_path: Path, url: str) -> None:
    settings = of_file(tmp_path, TWILIO, TOCSIN_PROVIDERS__TWILIO__BASE_URL=url)

    assert settings.providers.twilio is not None
    assert settings.providers.twilio.base_url == url


@pytest.mark.parametrize("url", ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "ftp://x"])
def test_plain_http_is_refused_elsewhere(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^providers\.twilio\.base_url: "):
        of_file(tmp_path, TWILIO, TOCSIN_PROVIDERS__TWILIO__BASE_URL=url)


@pytest.mark.parametrize(("text", "expected"), [("15s", 15.0), ("500ms", 0.5), ("2m", 120.0), ("7", 7.0)])
def test_a_timeout_is_a_duration(tmp_path: Path, text: str, expected: float) -> None:
    settings = of_file(tmp_path, TWILIO, TOCSIN_PROVIDERS__TWILIO__TIMEOUT=text)

    assert settings.providers.twilio is not None
    assert settings.providers.twilio.timeout == expected


def test_a_rate_is_calls_a_second(tmp_path: Path) -> None:
    settings = of_file(tmp_path, TWILIO, TOCSIN_PROVIDERS__TWILIO__RATE="120/m")

    assert settings.providers.twilio is not None
    assert settings.providers.twilio.rate == 2.0


def test_a_secret_is_neither_shown_nor_quoted_in_an_error(tmp_path: Path) -> None:
    shown = repr(of_file(tmp_path, TWILIO, TOCSIN_CLICKHOUSE__URL="clickhouse://u:hunter2@h/notify"))
    with pytest.raises(ConfigError) as refused:
        of_file(tmp_path, TWILIO.replace("from", "frm") + 'messaging_service_sid = ["hush-hush"]\n')

    assert "hush-hush" not in shown + str(refused.value)
    assert "hunter2" not in shown


def test_instances_of_a_role_have_their_own_folders(tmp_path: Path) -> None:
    first = Settings.load({"TOCSIN_DATA__DIR": str(tmp_path)})
    second = Settings.load({"TOCSIN_DATA__DIR": str(tmp_path), "TOCSIN_INSTANCE": "b"})

    assert first.data_folder("router") == tmp_path / "router-1"
    assert second.data_folder("router") == tmp_path / "router-b"


def test_the_embedded_clickhouse_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings.load({"TOCSIN_DATA__DIR": str(tmp_path)})

    assert settings.clickhouse.url == f"chdb://{tmp_path}/clickhouse"


def test_kafka_clients_get_sasl_only_when_asked_for() -> None:
    plain = Settings.load({"TOCSIN_KAFKA__BOOTSTRAP": "a:1,b:2"}).kafka.client_options()
    sasl = Settings.load(
        {
            "TOCSIN_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "TOCSIN_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "TOCSIN_KAFKA__SASL_USERNAME": "u",
            "TOCSIN_KAFKA__SASL_PASSWORD": "p",
        }
    ).kafka.client_options()

    assert plain == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    assert (sasl["sasl_plain_username"], sasl["sasl_plain_password"]) == ("u", "p")
    assert sasl["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shop@example.com", "shop@example.com"),
        ("<shop@Example.COM>", "shop@example.com"),
        ("The Shop <shop@example.com>", "The Shop <shop@example.com>"),
        ('"Shop, Inc." <shop@example.com>', '"Shop, Inc." <shop@example.com>'),
        ("shop@bücher.example", "shop@xn--bcher-kva.example"),
        ("Müller <shop@straße.example>", "=?utf-8?q?M=C3=BCller?= <shop@xn--strae-oqa.example>"),
        ("=?utf-8?q?M=C3=BCller?= <shop@example.com>", "=?utf-8?q?M=C3=BCller?= <shop@example.com>"),
    ],
)
def test_whom_mail_comes_from_is_written_as_mail_needs_it(text: str, said: str) -> None:
    assert sender(text) == said


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=120))
def test_any_display_name_is_written_in_ascii_and_read_back(name: str) -> None:
    quoted = name.replace("\\", "").replace('"', "")
    said = sender(f'"{quoted}" <shop@example.com>')

    assert said.isascii()
    assert all(len(word) <= 75 for word in said.split() if word.startswith("=?"))
    [(shown, address)] = getaddresses([said])
    assert address == "shop@example.com"
    if not name.isascii():
        assert str(make_header(decode_header(shown))).split() == quoted.split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop",
        "shop@localhost",
        "The Shop",
        "The Shop <>",
        "shop@example.com, other@example.com",
        "The Shop <shop@example.com>, <other@example.com>",
        "Team: shop@example.com;",
        "undisclosed-recipients:;",
        "shop@example.com\r\nBcc: eve@example.com",
        "The Shop\n <shop@example.com>",
        "The\u2028Shop <shop@example.com>",
        "=?utf-8?q?a=0D=0Ab?= <shop@example.com>",
        "The Shop <shop@example.com> and more",
        "shöp@example.com",
        "Shop <@relay.example:shop@example.com>",
    ],
)
def test_what_is_not_one_sender_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^providers\.ses\.from: "):
        Settings.load({"TOCSIN_PROVIDERS__SES": json.dumps({"region": "x", "from": text})})


def test_links_may_have_the_apps_own_schemes_but_none_that_runs_what_it_holds() -> None:
    settings = Settings.load({"TOCSIN_GATEWAY__LINK_SCHEMES": '["MyApp"]', "TOCSIN_USERS__DEVICES": "3"})
    assert settings.bounds.link_schemes == {"https", "http", "mailto", "tel", "myapp"}
    assert settings.bounds.devices == 3
    for unsafe in ("javascript", "DATA", "file", "my app", "myapp:"):
        with pytest.raises(ConfigError, match="link_schemes"):
            Settings.load({"TOCSIN_GATEWAY__LINK_SCHEMES": json.dumps([unsafe])})


def test_traces_are_off_unless_a_collector_is_named() -> None:
    named = Settings.load({"TOCSIN_TRACING__ENDPOINT": "https://traces.example/v1/traces"})

    assert Settings.load({"TOCSIN_TRACING__SAMPLE_RATIO": "1"}).bounds.traced is None
    assert named.bounds.traced == 0.0


def test_a_collectors_key_comes_from_the_environment_and_is_not_shown() -> None:
    settings = Settings.load({"TOCSIN_TRACING__HEADERS": json.dumps({"x-api-key": "hush-hush"})})

    assert settings.tracing.headers["x-api-key"].get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ENDPOINT", "http://traces.example/v1/traces"),
        ("ENDPOINT", "traces"),
        ("SAMPLE_RATIO", "1.5"),
        ("SAMPLE_RATIO", "-0.1"),
        ("SAMPLE_RATIO", "nan"),
        ("HEADERS", '{"a b": "hush-hush"}'),
        ("HEADERS", '{"a": "hush-hush\\r\\nb: c"}'),
        ("HEADERS", '{"a": "hush-hush\u00e9"}'),
    ],
)
def test_a_wrong_setting_of_traces_names_its_key_and_not_its_value(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^tracing\.{key.lower()}") as refused:
        Settings.load({f"TOCSIN_TRACING__{key}": value})

    assert "hush-hush" not in str(refused.value)
