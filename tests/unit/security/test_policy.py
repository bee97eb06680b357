"""Policy: what a grant gives, where and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import InvalidRequest
from mediasrv.security.places import check_place, lies_within
from mediasrv.security.policy import (
    ROLES,
    Grant,
    Permission,
    permissions_anywhere,
    permissions_at,
    permitted,
    permitted_somewhere,
)

NOW = 1_000


def grant(role: str = "viewer", path: str = "root/north/", starts_us: int = 0, ends_us: int | None = None) -> Grant:
    return Grant(role, path.rstrip("/").rpartition("/")[2], path, starts_us, ends_us, "test")


def test_a_grant_reaches_its_place_and_below_and_nothing_beside_or_above() -> None:
    grants = [grant()]
    assert permitted(grants, Permission.LIVE_VIEW, "root/north/", NOW)
    assert permitted(grants, Permission.LIVE_VIEW, "root/north/site-1/", NOW)
    for elsewhere in ("root/", "root/south/", "root/north-2/", "root/northern/site-1/", ""):
        assert not permitted(grants, Permission.LIVE_VIEW, elsewhere, NOW)


def test_a_grant_holds_from_its_start_until_before_its_end() -> None:
    grants = [grant(starts_us=500, ends_us=1_000)]
    assert [permitted(grants, Permission.LIVE_VIEW, "root/north/", now) for now in (499, 500, 999, 1_000)] == [
        False,
        True,
        True,
        False,
    ]
    assert not permitted_somewhere(grants, Permission.LIVE_VIEW, 1_000)


def test_an_unknown_role_gives_nothing() -> None:
    grants = [grant("root"), grant("")]
    assert permissions_anywhere(grants, NOW) == frozenset()
    assert not any(permitted(grants, permission, "root/north/", NOW) for permission in Permission)


def test_no_role_that_manages_sees_footage_and_the_administrator_sees_no_picture() -> None:
    assert [role for role, given in ROLES.items() if Permission.FOOTAGE_VIEW in given] == ["auditor"]
    assert Permission.LIVE_VIEW not in ROLES["administrator"]
    for permissions in ROLES.values():
        assert not {Permission.FOOTAGE_VIEW, Permission.CAMERA_MANAGE} <= permissions
        assert not {Permission.FOOTAGE_VIEW, Permission.GRANT_MANAGE} <= permissions


def test_every_role_may_see_that_a_camera_exists() -> None:
    """The guard answers 404 to whoever may not: a permission without this one would be out of reach."""
    assert all(Permission.CAMERA_VIEW in permissions for permissions in ROLES.values())


paths = st.lists(st.sampled_from(["root", "a", "ab", "b"]), min_size=1, max_size=4).map(lambda ids: "/".join(ids) + "/")


@given(
    st.lists(st.builds(grant, st.sampled_from([*ROLES, "other"]), paths, st.integers(0, 9), st.integers(0, 9))),
    paths,
    st.integers(0, 9),
)
def test_permitted_agrees_with_permissions_at(grants: list[Grant], path: str, now: int) -> None:
    at = permissions_at(grants, path, now)
    assert at == {permission for permission in Permission if permitted(grants, permission, path, now)}
    assert at <= permissions_anywhere(grants, now)


def test_no_grants_no_permission() -> None:
    assert permissions_at([], "root/", NOW) == frozenset()


def test_within_is_by_whole_ids() -> None:
    assert lies_within("root/site-1/", "root/site-1/")
    assert not lies_within("root/site-11/", "root/site-1/")


@pytest.mark.parametrize(
    ("place_id", "level", "parent"),
    [("A", "site", "centre"), ("a/b", "site", "centre"), ("a", "centre", "centre"), ("a", "province", "site")],
)
def test_places_that_break_the_tree_are_refused(place_id: str, level: str, parent: str) -> None:
    with pytest.raises(InvalidRequest):
        check_place(place_id, level, parent)
