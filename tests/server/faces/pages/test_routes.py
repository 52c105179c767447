"""The pages as a client without script sees them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytest.importorskip("jinja2", reason="needs the extra composer")
pytest.importorskip("sqlalchemy", reason="needs the extra composer")

from aihwjax.server.faces.pages import experiment, histories, listing, session
from tests.server.faces.pages.site import EPOCHS, Site, archive, csrf_of, metrics

HTTPS = {"X-Forwarded-Proto": "https"}
PATHS = ["", "/files/output", "/files/input", "/metrics.json", "/log.txt", "/stream"]
NASTY = """<script>alert(1)</script>"><img src=x onerror='alert(2)'> & {{ 7 * 7 }}"""


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=20) as client:
        yield client


@pytest.fixture
def ann(site: Site, client: httpx.Client) -> httpx.Client:
    assert sign_in(client, site.token()).status_code == 303
    return client


def sign_in(client: httpx.Client, token: str, following: str = "/ui", **fields: Any) -> httpx.Response:
    text = client.get("/ui/sign-in", **fields).text
    return client.post("/ui/sign-in", data={"token": token, "next": following, "csrf": csrf_of(text)}, **fields)


def cookies(answer: httpx.Response) -> dict[str, set[str]]:
    """Return the attributes of each cookie that an answer sets."""
    found = {}
    for line in answer.headers.get_list("Set-Cookie"):
        first, *attributes = line.split(";")
        found[first.partition("=")[0]] = {attribute.strip().lower() for attribute in attributes}
    return found


# --------------------------------------------------------------------------- signing in and out
def test_signing_in_gives_a_cookie_that_only_the_pages_see(site: Site, client: httpx.Client) -> None:
    answer = sign_in(client, f"  {site.token()} ")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui")
    cookie = cookies(answer)[session.LOGIN]
    assert {"httponly", "samesite=strict", "path=/ui"} <= cookie and "secure" not in cookie
    assert site.token() not in answer.headers["Set-Cookie"]
    assert "ann" in client.get("/ui").text


def test_cookies_are_secure_where_the_connection_is(site: Site, client: httpx.Client) -> None:
    form = client.get("/ui/sign-in", headers=HTTPS)
    assert "secure" in cookies(form)[session.FORM]
    data = {"token": site.token(), "csrf": csrf_of(form.text)}
    headers = {**HTTPS, "Cookie": form.headers["Set-Cookie"].partition(";")[0]}
    assert "secure" in cookies(client.post("/ui/sign-in", data=data, headers=headers))[session.LOGIN]


def test_the_cookie_opens_no_door_of_the_api(ann: httpx.Client) -> None:
    assert ann.get("/api/v1/me").status_code == 401
    login = next(cookie for cookie in ann.cookies.jar if cookie.name == session.LOGIN)
    assert login.path == "/ui"


@pytest.mark.parametrize("token", ["aihwjax_00000000_wrong", "x" * 2000, "\N{SNOWMAN}"])
def test_a_wrong_token_is_told_and_not_shown(site: Site, client: httpx.Client, token: str) -> None:
    answer = sign_in(client, token)
    assert answer.status_code == 401
    assert 'role="alert">This token is not valid.<' in answer.text
    assert token not in answer.text and session.LOGIN not in cookies(answer)


def test_no_token_is_told(client: httpx.Client) -> None:
    answer = sign_in(client, "  ")
    assert answer.status_code == 422 and "Give your token." in answer.text


def test_too_many_wrong_tokens_are_told(site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from aihwjax.server.core.throttle import Throttle

    monkeypatch.setattr(site.core, "_throttle", Throttle(failures=1, seconds=30))
    assert sign_in(client, "wrong").status_code == 401
    answer = sign_in(client, "wrong")
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
    assert "Too many failed sign-ins from this address, try again in" in answer.text
    client.cookies.set(session.LOGIN, "wrong", path="/ui")
    answer = client.get("/ui")
    assert answer.status_code == 429 and "<h1>Too many attempts</h1>" in answer.text
    assert "max-age=0" in cookies(answer)[session.LOGIN]
    assert sign_in(client, site.token()).status_code == 303  # whoever has a token is never locked out


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/ui", "/ui/experiments/abcdef", "/ui/experiments/abcdef/metrics.json"])
def test_who_is_not_signed_in_is_asked_to(client: httpx.Client, method: str, path: str) -> None:
    if method == "POST":
        path = "/ui/sign-out" if path == "/ui" else "/ui/experiments/abcdef/cancel"
    answer = client.request(method, path)
    following = "?next=%2Fui%2Fexperiments%2Fabcdef" if method == "GET" and path.endswith("abcdef") else ""
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/sign-in{following}")


def test_signing_in_goes_on_to_the_page_that_was_asked_for(site: Site, client: httpx.Client) -> None:
    page = f"/ui/experiments/{site.completed()}"
    form = client.get(client.get(page).headers["Location"])
    following = re.search(r'name="next" value="([^"]*)"', form.text)
    assert following and html.unescape(following[1]) == page
    assert sign_in(client, site.token(), page).headers["Location"] == page


@pytest.mark.parametrize("following", ["https://elsewhere.example/", "//elsewhere.example", "/ui/../x", "/ui\n", "x"])
def test_signing_in_leads_nowhere_else(site: Site, client: httpx.Client, following: str) -> None:
    assert sign_in(client, site.token(), following).headers["Location"] == "/ui"
    assert 'name="next" value="/ui"' in client.get("/ui/sign-in", params={"next": following}).text


def test_signing_out_forgets(ann: httpx.Client) -> None:
    answer = ann.post("/ui/sign-out", data={"csrf": csrf_of(ann.get("/ui").text)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/sign-in")
    assert ann.get("/ui").status_code == 303


def test_a_revoked_token_signs_out(site: Site, client: httpx.Client) -> None:
    sign_in(client, site.token("gone"))
    site.core.revoke_token(site.token("gone"))
    answer = client.get("/ui")
    assert answer.status_code == 303 and "max-age=0" in cookies(answer)[session.LOGIN]


def test_a_link_of_another_site_finds_the_cookie_again(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = client.get("/ui/experiments/abcdef", headers=headers)
    assert answer.status_code == 200 and 'content="0; url=/ui/experiments/abcdef"' in answer.text
    assert client.get("/ui", headers={**headers, "Sec-Fetch-Site": "same-origin"}).status_code == 303


# --------------------------------------------------------------------------- forms
def test_a_form_from_elsewhere_does_nothing(site: Site, ann: httpx.Client, client: httpx.Client) -> None:
    experiment_id = site.running()
    for csrf in ("", "0" * 64, "\N{SNOWMAN}"):
        answer = ann.post(f"/ui/experiments/{experiment_id}/cancel", data={"csrf": csrf})
        assert answer.status_code == 403 and "This form is out of date" in answer.text
        assert ann.post("/ui/sign-out", data={"csrf": csrf}).status_code == 403
    site.report(experiment_id, [metrics(0)])
    assert site.core.experiment(site.identity(), experiment_id).status == "running"
    assert ann.get("/ui").status_code == 200


def test_the_form_of_another_visitor_does_nothing(site: Site, ann: httpx.Client) -> None:
    with httpx.Client(base_url=site.url) as other:
        sign_in(other, site.token("bob"))
        csrf = csrf_of(other.get("/ui").text)
    assert ann.post(f"/ui/experiments/{site.waiting()}/cancel", data={"csrf": csrf}).status_code == 403


def test_signing_in_needs_the_form(site: Site, client: httpx.Client) -> None:
    csrf = csrf_of(client.get("/ui/sign-in").text)
    client.cookies.clear()
    for value in (csrf, ""):
        answer = client.post("/ui/sign-in", data={"token": site.token(), "csrf": value})
        assert answer.status_code == 403 and session.LOGIN not in cookies(answer)
        client.cookies.clear()


def test_a_form_that_is_too_large_is_refused(client: httpx.Client) -> None:
    assert client.post("/ui/sign-in", data={"token": "x" * 100_000}).status_code == 413
    answer = client.post("/ui/sign-in", data={"token": "x" * 3_000})
    assert answer.status_code == 422 and "<h1>This is not allowed</h1>" in answer.text


# --------------------------------------------------------------------------- owners
@pytest.mark.parametrize("path", PATHS)
def test_experiments_of_others_do_not_exist(site: Site, ann: httpx.Client, path: str) -> None:
    experiment_id = site.completed(user="bob", name="the secret of bob")
    with httpx.Client(base_url=site.url) as owner:
        sign_in(owner, site.token("bob"))
        assert owner.get(f"/ui/experiments/{experiment_id}{path}").status_code == 200  # also into the history
    answer = ann.get(f"/ui/experiments/{experiment_id}{path}")
    assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text
    assert answer.text == ann.get(f"/ui/experiments/{'0' * 32}{path}").text
    assert "the secret of bob" not in ann.get("/ui").text


def test_nobody_else_cancels(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.waiting(user="bob")
    csrf = csrf_of(ann.get("/ui").text)
    assert ann.post(f"/ui/experiments/{experiment_id}/cancel", data={"csrf": csrf}).status_code == 404
    site.core.cancel(site.identity("bob"), experiment_id)


def test_an_administrator_sees_whose_it_is(site: Site, client: httpx.Client) -> None:
    experiment_id = site.completed(user="bob")
    sign_in(client, site.token("root", scope="admin"))
    assert "bob" in client.get("/ui").text
    assert "<dd>bob</dd>" in client.get(f"/ui/experiments/{experiment_id}").text


# --------------------------------------------------------------------------- pages
def test_names_and_logs_are_escaped(site: Site, client: httpx.Client) -> None:
    sign_in(client, site.token("eve"))
    document = {"experiment": {"dataset": NASTY}, "model": {"config": {"class": NASTY, "device": {"x" + NASTY: NASTY}}}}
    experiment_id = site.running(NASTY, "eve", content=archive(document))
    site.report(experiment_id, [], [NASTY, "\x1b[31mred"])
    site.fail(experiment_id, NASTY)
    for page in (client.get("/ui"), client.get(f"/ui/experiments/{experiment_id}")):
        assert page.status_code == 200
        assert "<img" not in page.text and "<script>" not in page.text
        assert "alert(2)&#39;&gt; &amp; {{ 7 * 7 }}</" in page.text
    found = client.get(f"/ui/experiments/{experiment_id}/metrics.json")
    assert found.json()["name"] == NASTY
    assert re.fullmatch(r'attachment; filename="[a-z0-9-]+-metrics\.json"', found.headers["Content-Disposition"])


def test_pages_have_nothing_inline_and_a_strict_policy(site: Site, ann: httpx.Client) -> None:
    for path in ("/ui", f"/ui/experiments/{site.completed()}", "/ui/sign-in", "/ui/nothing"):
        page = ann.get(path)
        assert not re.search(r"<style|<script(?! src=\"/ui/static/)|\sstyle=|\son[a-z]+=|javascript:", page.text)
        assert not re.search(r'(?:src|href|action)="(?!/ui|#)', page.text)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert page.headers["Cache-Control"] == "no-store"
        for address in re.findall(r'"(/ui/static/[^"]+)"', page.text):
            assert "immutable" in ann.get(address).headers["Cache-Control"]


def test_there_are_no_other_static_files(client: httpx.Client) -> None:
    for name in ("nothing.css", "..%2Fbase.html", "%2e%2e/pages.css"):
        assert client.get(f"/ui/static/{name}").status_code == 404


def test_the_list_goes_page_by_page(site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ON_A_PAGE", 2)
    sign_in(client, site.token("carl"))
    assert "There are no experiments yet." in client.get("/ui").text
    made = [site.waiting(f"number {number}", "carl") for number in range(5)]
    site.core.cancel(site.identity("carl"), made[0])
    seen, address = [], "/ui"
    while True:
        page = client.get(address).text
        seen.append(re.findall(r"number \d", page))
        older = re.search(r'href="([^"]*)" rel="next"', page)
        if older is None:
            break
        address = html.unescape(older[1])
    assert seen == [["number 4", "number 3"], ["number 2", "number 1"], ["number 0"]]
    assert '<a id="newest" href="/ui">' in page
    assert re.findall(r"number \d", client.get("/ui?status=cancelled").text) == ["number 0"]
    assert "There are none like this." in client.get("/ui?status=failed").text
    for query in ("status=odd", "before=odd", f"before={'0' * 32}", f"status={'x' * 100}"):
        answer = client.get(f"/ui?{query}")
        assert answer.status_code == 422 and "<h1>This is not allowed</h1>" in answer.text
    for experiment_id in made:
        site.core.cancel(site.identity("carl"), experiment_id)


def test_the_page_of_an_experiment_tells_all(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.completed("the one", epochs=EPOCHS)
    page = ann.get(f"/ui/experiments/{experiment_id}").text
    for part in (
        "<h1>the one</h1>",
        "Completed",
        '10 of 10 <span class="unit">epochs</span>',
        '<title id="loss-title">Loss over epochs</title>',
        "Training: 1.900 at epoch 0, 0.3416 at epoch 9, lowest 0.3416 at epoch 9, highest 1.900 at epoch 0.",
        '<th scope="row">9</th><td>0.3416</td><td>0.4147</td><td>86.95',
        "<dt>Learning rate</dt><dd>0.2</dd>",
        "<code>AnalogLinear(784, 64, ConstantStepDevice)</code>",
        "Layers 2, 4: ConstantStepDevice",
        "<dt>dw_min</dt><dd>0.001</dd>",
        "the first line",
        f"aihwjax cloud fetch {experiment_id[:8]}",
    ):
        assert part in page, part
    assert "cancel" not in page.lower()


def test_an_experiment_is_found_by_the_start_of_its_id(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.completed()
    assert ann.get(f"/ui/experiments/{experiment_id[:12]}").headers["Location"] == f"/ui/experiments/{experiment_id}"


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/experiments/zz", "/ui/experiments/abcd/nothing", "/ui/a/b/c"])
def test_there_is_no_such_page(ann: httpx.Client, path: str) -> None:
    answer = ann.get(path)
    assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text


def test_an_archive_that_cannot_be_shown_leaves_the_rest(site: Site, ann: httpx.Client) -> None:
    for content in (b"no tar", archive({"model": "x" * 600_000}), b""):
        page = ann.get(f"/ui/experiments/{site.completed(content=content)}")
        assert page.status_code == 200 and "<dd>mnist10k</dd>" in page.text


def test_an_experiment_that_was_not_submitted_has_a_page(site: Site, ann: httpx.Client) -> None:
    made = site.core.create(site.identity(), name="later")
    page = ann.get(f"/ui/experiments/{made.id}").text
    assert "Not submitted" in page and "Nothing is known before it is submitted." in page
    answer = ann.post(f"/ui/experiments/{made.id}/cancel", data={"csrf": csrf_of(page)})
    assert answer.status_code == 303
    assert site.core.experiment(site.identity(), made.id).status == "cancelled"


def test_cancelling_a_waiting_experiment(site: Site, ann: httpx.Client) -> None:
    address = f"/ui/experiments/{site.waiting()}"
    answer = ann.post(f"{address}/cancel", data={"csrf": csrf_of(ann.get(address).text)})
    assert (answer.status_code, answer.headers["Location"]) == (303, address)
    page = ann.get(address).text
    assert "Cancelled" in page and f"{address}/cancel" not in page


def test_cancelling_a_running_experiment(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.running()
    address = f"/ui/experiments/{experiment_id}"
    answer = ann.post(f"{address}/cancel", data={"csrf": csrf_of(ann.get(address).text)})
    assert (answer.status_code, answer.headers["Location"]) == (303, address)
    page = ann.get(address).text
    assert "It was asked to stop" in page and f"{address}/cancel" not in page
    site.stop(experiment_id)
    assert "It was asked to stop" not in ann.get(address).text


def test_long_histories_are_shortened(site: Site, ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "SHOWN_EPOCHS", 3)
    experiment_id = site.running("long")
    lines = [f"line number {number}" for number in range(histories.SHOWN_LINES + 20)]
    site.report(experiment_id, [metrics(number) for number in range(5)], lines)
    page = ann.get(f"/ui/experiments/{experiment_id}").text
    assert "The last 3 of 5 epochs" in page and page.count('<th scope="row">') == 3
    assert f"The last {histories.SHOWN_LINES} of {len(lines) + 1} lines." in page
    assert "line number 19\n" not in page and "line number 20\n" in page
    text = ann.get(f"/ui/experiments/{experiment_id}/log.txt").text
    assert text.splitlines() == ["the first line", *lines]


def test_a_history_is_read_on(site: Site, ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "_KEPT", 1)
    monkeypatch.setattr(histories, "_AT_ONCE", 2)
    first, second = site.running(epochs=1), site.running(epochs=3)
    for number in range(1, 4):
        for experiment_id, count in ((first, number), (second, 3)):
            found = ann.get(f"/ui/experiments/{experiment_id}/metrics.json").json()
            assert found["metrics"] == [metrics(epoch) for epoch in range(count)]
        site.report(first, [metrics(number)])


def test_what_is_not_finite_is_null_in_the_metrics(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.running()
    site.report(experiment_id, [{**metrics(0), "train_loss": None}])
    text = ann.get(f"/ui/experiments/{experiment_id}/metrics.json").text
    assert json.loads(text, parse_constant=pytest.fail)["metrics"][0]["train_loss"] is None
    assert "<td>not finite</td>" in ann.get(f"/ui/experiments/{experiment_id}").text


def test_a_page_has_own_metrics_and_no_accuracy_where_there_is_none(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.running()
    told = {"epoch": 0, "train_loss": 1.0, "valid_loss": 2.0, NASTY: 0.5, "time_epoch": 1.5}
    site.report(experiment_id, [told])
    assert ann.get(f"/ui/experiments/{experiment_id}/metrics.json").json()["metrics"] == [told]
    page = ann.get(f"/ui/experiments/{experiment_id}").text
    assert "Accuracy" not in page and "<img" not in page and "<script>" not in page
    assert page.count("alert(2)&#39;&gt; &amp; {{ 7 * 7 }}</th>") == 1  # a column
    assert '<th scope="row">0</th><td>1.000</td><td>2.000</td><td>0.5000</td>' in page
    assert '<title id="metric-0-title">' in page


def test_files_are_sent_under_the_name_of_the_experiment(site: Site, ann: httpx.Client) -> None:
    experiment_id = site.completed('Größe "7"\N{SNOWMAN}')
    answer = ann.get(f"/ui/experiments/{experiment_id}/files/output")
    assert answer.content == b"the result"
    wanted = f'attachment; filename="groe-7-{experiment_id[:8]}-trained.tar"'
    assert answer.headers["Content-Disposition"] == wanted
    assert ann.get(f"/ui/experiments/{experiment_id}/files/input").content[:15] == b"experiment.json"
    assert ann.get(f"/ui/experiments/{experiment_id}/files/payload").status_code == 422
    assert ann.get(f"/ui/experiments/{site.running()}/files/output").status_code == 404


def test_the_stream_is_that_of_the_api(site: Site, ann: httpx.Client) -> None:
    address = f"/ui/experiments/{site.completed(epochs=2)}"
    text = ann.get(f"{address}/stream").text
    assert re.findall(r"event: (\w+)", text) == ["state", "state", "log", "epoch", "epoch", "state", "end"]
    after = re.search(r'data-after="(\d+)"', ann.get(address).text)
    assert after and re.findall(r"event: (\w+)", ann.get(f"{address}/stream?after={after[1]}").text) == ["end"]
    assert ann.get(f"{address}/stream?after=-1").status_code == 422
