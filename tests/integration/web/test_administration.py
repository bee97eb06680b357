"""Administration over HTTP: the first account, grants, places, tokens, cameras."""

from __future__ import annotations

import json

from tests.integration.web.site import Site
from tests.unit.web.fakes import NORTH, PASSWORD


async def test_the_first_administrator_comes_in_by_the_link(site: Site) -> None:
    token = await site.world.services.accounts.first_invite()
    body = {"token": token, "username": "lan", "password": PASSWORD}
    async with site.client.post("/api/v1/invite", json=body) as response:
        assert response.status == 200
        assert (await response.json())["permissions"][0] == "access_log.read"
    async with site.client.get("/api/v1/session") as response:  # the cookie of the answer
        assert (await response.json())["principal"]["username"] == "lan"
    assert await site.problem("POST", "/api/v1/invite", None, json=body) == (401, "invite_invalid")


async def test_rights_are_delegated_down_the_tree_and_not_beside_it(site: Site) -> None:
    token = await site.world.account("lan", "administrator", place="north")
    await site.world.account("minh")
    grant = {"username": "minh", "role": "viewer", "purpose": "shift"}
    for place, expected in (("north", 201), ("south", 403), ("root", 403)):
        assert (await site.call("POST", "/api/v1/grants", token, json=grant | {"place": place}))[0] == expected
    assert (await site.call("POST", "/api/v1/grants", token, json=grant))[0] == 403
    _, listed = await site.call("GET", "/api/v1/grants", token)
    assert {(row["username"], row["place"]) for row in listed["grants"]} == {("lan", "north"), ("minh", "north")}
    south = await site.world.services.accounts.grant("minh", "viewer", "south", purpose="x")
    assert (await site.call("DELETE", f"/api/v1/grants/{south}", token))[0] == 404
    own = next(row["id"] for row in listed["grants"] if row["username"] == "minh")
    assert (await site.call("DELETE", f"/api/v1/grants/{own}", token))[0] == 204


async def test_places_show_the_own_branch_only(site: Site) -> None:
    token = await site.world.account("lan", "administrator", place="north")
    new = {"id": "site-7", "parent": "north", "level": "site", "name": "Trạm 7"}
    assert (await site.call("POST", "/api/v1/places", token, json=new))[0] == 201
    assert (await site.call("POST", "/api/v1/places", token, json=new | {"id": "x", "parent": "south"}))[0] == 403
    _, body = await site.call("GET", "/api/v1/places", token)
    assert [place["id"] for place in body["places"]] == ["root", "north", "site-7"]


async def test_the_access_log_is_read_in_pages_and_reading_is_logged(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    _, body = await site.call("GET", "/api/v1/access-log?limit=2", token)
    assert set(body["entries"][0]) == {"entry", "at", "username", "remote", "action", "subject", "detail"}
    assert body["entries"][0]["action"] == "access_log.read"
    assert body["head"]["entry"] == body["entries"][0]["entry"]
    assert len(body["head"]["hash"]) == 64
    _, older = await site.call("GET", f"/api/v1/access-log?limit=2&before={body['entries'][1]['entry']}", token)
    assert older["entries"][0]["entry"] == body["entries"][1]["entry"] - 1


async def test_tokens_over_http(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    status, made = await site.call("POST", "/api/v1/tokens", token, json={"name": "script"})
    assert status == 201
    _, listed = await site.call("GET", "/api/v1/tokens", made["token"])
    assert [one["name"] for one in listed["tokens"]] == ["script", "test"] or len(listed["tokens"]) == 2
    assert made["token"] not in json.dumps(listed)
    wanted = next(one["id"] for one in listed["tokens"] if one["name"] == "script")
    assert (await site.call("DELETE", f"/api/v1/tokens/{wanted}", token))[0] == 204
    assert (await site.call("GET", "/api/v1/session", made["token"]))[0] == 401


async def test_cameras_of_the_file_are_changed_there(site: Site) -> None:
    await site.world.cameras.put("filed", "north", "file")
    token = await site.world.account("lan", "operator")
    for method in ("PATCH", "DELETE"):
        options = {"json": {"name": "x"}} if method == "PATCH" else {}
        answer = await site.problem(method, "/api/v1/cameras/filed", token, **options)
        assert answer == (409, "camera_from_file")


async def test_a_camera_that_comes_back_is_there_at_once(site: Site) -> None:
    token, one = await site.world.account("lan", "operator"), f"/api/v1/cameras/{NORTH}"
    assert (await site.call("DELETE", one, token))[0] == 204
    assert await site.problem("GET", one, token) == (404, "camera_not_found")
    body = {"id": NORTH, "address": "192.0.2.1", "place": "north"}
    assert (await site.call("POST", "/api/v1/cameras", token, json=body))[0] == 201
    assert (await site.call("GET", one, token))[0] == 200


async def test_streams_are_chosen_by_name_and_any_other_is_refused(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    body = {"address": "192.0.2.1"}
    probe, one = "/api/v1/cameras/probe", f"/api/v1/cameras/{NORTH}"
    assert (await site.call("POST", probe, token, json=body))[0] == 200
    chosen = {"record_stream": "both", "grid_stream": "main"}
    assert (await site.call("POST", probe, token, json=body | chosen))[0] == 200
    wishes = [(wish.record_stream, wish.grid_stream) for wish in site.world.cameras.wishes]
    assert wishes == [("main", ""), ("both", "main")]
    status, camera = await site.call("PATCH", one, token, json=chosen)
    assert (status, camera["record_stream"], camera["grid_stream"]) == (200, "both", "main")
    for wrong in ({"record_stream": "third"}, {"record_stream": ""}, {"grid_stream": "both"}, {"grid_stream": 1}):
        assert await site.problem("PATCH", one, token, json=wrong) == (400, "request_invalid")
        assert await site.problem("POST", probe, token, json=body | wrong) == (400, "request_invalid")


async def test_an_operator_of_a_site_adds_cameras_there_only(site: Site) -> None:
    token = await site.world.account("lan", "operator", place="north")
    for place, expected in (("north", 200), ("south", 403), ("root", 403), ("", 403)):
        body = {"address": "192.0.2.1", "place": place}
        assert (await site.call("POST", "/api/v1/cameras/probe", token, json=body))[0] == expected, place
    assert (await site.call("GET", "/api/v1/discover", token))[1]["devices"][0]["address"] == "192.0.2.9"


async def test_a_plan_is_taken_as_the_api_documents_it_or_refused_by_name(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    probe, one = "/api/v1/cameras/probe", f"/api/v1/cameras/{NORTH}"
    plan = {"mode": "event", "kinds": ["motion"], "before_s": 5.0, "after_s": 10.0}
    body = {"address": "192.0.2.1", "recording": plan, "record_audio": "off", "attested": 1}
    assert (await site.call("POST", probe, token, json=body))[0] == 200
    wish = site.world.cameras.wishes[-1]
    assert (wish.recording.to_json(), wish.record_audio, wish.attested) == (plan, "off", 1)
    status, camera = await site.call("PATCH", one, token, json={"recording": {"mode": "off"}, "record_audio": "on"})
    assert (status, camera["recording"], camera["record_audio"]) == (200, {"mode": "off"}, "on")
    for wrong, code in (
        ({"recording": True}, "request_invalid"),
        ({"recording": {"mode": "always"}}, "recording_invalid"),
        ({"recording": {"mode": "event", "before_s": 1e9}}, "recording_invalid"),
        ({"record_audio": "sometimes"}, "request_invalid"),
        ({"record": True}, "request_invalid"),
    ):
        assert await site.problem("PATCH", one, token, json=wrong) == (400, code)


async def test_who_manages_a_camera_attests_the_text_that_is_shown(site: Site) -> None:
    await site.world.cameras.put("filed", "north", "file")
    token, viewer = await site.world.account("lan", "operator"), await site.world.account("mai", "viewer")
    text = (await site.call("GET", "/api/v1/attestation", viewer))[1]
    assert text["version"] == 1
    assert "bathroom" in text["text"]
    assert "phòng tắm" in text["text_vi"]
    for camera_id in (NORTH, "filed"):
        route = f"/api/v1/cameras/{camera_id}/attestation"
        assert (await site.problem("POST", route, viewer, json={"version": 1}))[0] == 403
        assert await site.problem("POST", route, token, json={}) == (400, "request_invalid")
        assert await site.problem("POST", route, token, json={"version": 7}) == (400, "attestation_outdated")
        status, camera = await site.call("POST", route, token, json={"version": 1})
        assert (status, camera["attestation"]["version"], camera["attestation"]["by"]) == (200, 1, "lan")
