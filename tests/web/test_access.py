"""Who may see and do what: users, sessions, roles, forms of other sites, guessed passwords, TLS."""

import re
import subprocess
import sys
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.web.access import MAX_TRIES, TRY_WINDOW, Access, TooManyTriesError, User
from monitor.web.passwords import hash_password, verify_password
from tests.support.daemon_process import defect_monitor, write_config
from tests.support.page import LINE
from tests.support.page_login import FORM, cookies_of, log_in, session_of
from tests.support.stored_events import store


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/events",
        "/events/1-1",
        "/events/1-1/raw.jpg",
        "/live.jpg",
        "/camera",
        "/camera.mjpeg",
        "/not-inspected",
        "/health",
    ],
)
def test_nothing_is_shown_before_login(guarded, path):
    answer = guarded.get(path)
    assert answer.status == 303
    assert answer.getheader("location").startswith("/login?next=%2F")


def test_the_stream_and_forms_are_refused_before_login(guarded):
    assert guarded.get("/stream").status == 401
    assert guarded.request("POST", "/logout", "", FORM).status == 401


def test_login_leads_back_and_logout_ends_the_session(guarded):
    answer = log_in(guarded, "viewer", "viewer-secret")
    assert (answer.status, answer.getheader("location")) == (303, "/events")
    session = {"Cookie": f"session={cookies_of(answer)['session']}"}
    page = guarded.get("/", session)
    assert page.status == 200
    [token] = re.findall(r'name="csrf" value="([^"]+)"', page.text)
    foreign = guarded.request("POST", "/logout", urlencode({"csrf": "guessed"}), {**FORM, **session})
    assert (foreign.status, guarded.get("/", session).status) == (403, 200)
    own = guarded.request("POST", "/logout", urlencode({"csrf": token}), {**FORM, **session})
    assert (own.status, guarded.get("/", session).status) == (303, 303)


def test_a_login_form_of_another_site_is_refused(guarded):
    body = urlencode({"csrf": "x", "name": "viewer", "password": "viewer-secret"})
    assert guarded.request("POST", "/login", body, FORM).status == 403


def test_only_an_operator_exports(guarded):
    assert guarded.get("/events.zip", session_of(guarded, "viewer")).status == 403
    assert guarded.get("/events.zip", session_of(guarded, "operator")).status == 200


def test_only_an_engineer_sees_settings_and_tries_others(guarded):
    for role in ("viewer", "operator"):
        session = session_of(guarded, role)
        assert guarded.get("/camera/tuning?name=left", session).status == 403
        assert "Settings in force" not in guarded.get("/camera?name=left", session).text
    session = session_of(guarded, "engineer")
    assert guarded.get("/camera/tuning?name=left", session).status == 404  # no frame tells its size
    assert "Settings in force" in guarded.get("/camera?name=left", session).text


def test_only_an_operator_asks_why_and_with_the_token_of_the_form(guarded, quiet_server):
    with quiet_server.client() as client:
        entry = store(client, 0, "left")
    path, script = f"/events/{entry}/why", {**FORM, "HX-Request": "true"}
    for role, status in (("viewer", 403), ("operator", 200)):
        session = session_of(guarded, role)
        [token] = re.findall(r'name="csrf" value="([^"]+)"', guarded.get("/", session).text)
        body = urlencode({"method": "grad-cam", "csrf": token})
        answer = guarded.request("POST", path, body, {**script, **session})
        assert answer.status == status
        assert guarded.get(f"{path}?method=grad-cam", session).status == status
    assert 'role="status"' in answer.text
    assert guarded.request("POST", path, "method=grad-cam&csrf=x", {**script, **session}).status == 403
    assert guarded.request("POST", path, body, {**FORM, **session}).status == 403


def test_cookies_are_out_of_reach_of_scripts_and_secure_behind_tls(guarded):
    answer = log_in(guarded, "engineer", "engineer-secret", **{"X-Forwarded-Proto": "https"})
    [cookie] = [it for it in answer.headers.get_all("set-cookie") if it.startswith("session=")]
    assert {"HttpOnly", "Secure", "SameSite=lax"} <= set(cookie.split("; "))


def test_a_password_over_plain_http_from_another_machine_is_refused(guarded):
    answer = guarded.get("/login", {"Host": "line.example"})
    assert (answer.status, "https" in answer.text) == (403, True)
    assert guarded.get("/login", {"Host": "line.example", "X-Forwarded-Proto": "https"}).status == 200


def test_guessed_passwords_are_refused_after_some_tries(guarded):
    statuses = [
        log_in(guarded, "nobody", "wrong", **{"X-Forwarded-For": "10.9.9.9"}).status
        for _ in range(MAX_TRIES + 1)
    ]
    assert statuses == [401] * MAX_TRIES + [429]
    assert log_in(guarded, "viewer", "viewer-secret").status == 303  # from another address


def test_a_user_can_log_in_again_after_the_window():
    now = 0.0
    access = Access({"anna": User(hash_password("right-one"), "viewer")}, clock=lambda: now)
    for _ in range(MAX_TRIES):
        assert access.log_in("anna", "wrong", "10.0.0.1") is None
    with pytest.raises(TooManyTriesError):
        access.log_in("anna", "right-one", "10.0.0.2")
    now = TRY_WINDOW
    token = access.log_in("anna", "right-one", "10.0.0.1")
    assert access.visitor(token).may("viewer")
    assert not access.visitor(token).may("operator")
    now += 13 * 3600
    assert access.visitor(token) is None


def test_an_address_that_others_reach_needs_users(tmp_path):
    config = write_config(tmp_path, LINE, url="redis://127.0.0.1:1/0", port=1)
    for options in (["--host", "0.0.0.0"], ["--trusted-proxy", "127.0.0.1"]):
        result = defect_monitor("page", "-c", config, *options)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert "[page.users]" in result.stderr


def test_passwd_prints_a_hash_that_the_settings_take():
    command = [sys.executable, "-m", "monitor", "page", "passwd"]
    result = subprocess.run(command, input="a long one\n", capture_output=True, text=True, check=True)
    assert verify_password("a long one", result.stdout.strip())
    short = subprocess.run(command, input="short\n", capture_output=True, text=True, check=False)
    assert (short.returncode, short.stdout) == (2, "")


@settings(max_examples=5)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_only_the_password_itself_fits_its_hash(password, other):
    hashed = hash_password(password)
    assert verify_password(password, hashed)
    assert verify_password(other, hashed) == (other == password)


@given(st.text(max_size=80))
def test_a_text_that_is_no_hash_fits_no_password(text):
    assert not verify_password("password", text)
