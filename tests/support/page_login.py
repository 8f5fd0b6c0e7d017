"""Log in to the page as a browser does."""

import re
from urllib.parse import urlencode

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def cookies_of(answer) -> dict[str, str]:
    headers = answer.headers.get_all("set-cookie") or []
    return dict(header.split(";")[0].split("=", 1) for header in headers)


def log_in(page, name: str, password: str, **headers: str):
    form = page.get("/login", headers)
    [token] = re.findall(r'name="csrf" value="([^"]+)"', form.text)
    cookie = {"Cookie": f"login-form={cookies_of(form)['login-form']}"}
    body = urlencode({"csrf": token, "name": name, "password": password, "next": "/events"})
    return page.request("POST", "/login", body, {**FORM, **cookie, **headers})


def session_of(page, role: str) -> dict[str, str]:
    return {"Cookie": f"session={cookies_of(log_in(page, role, f'{role}-secret'))['session']}"}
