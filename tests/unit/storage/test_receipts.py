"""Receipts of destroyed keys say what they say, by who signed them."""

from __future__ import annotations

import pytest

from mediasrv.clock import SECOND_US
from mediasrv.errors import FootageRefused
from mediasrv.storage.keys import create_data_key
from mediasrv.storage.receipts import build_receipt, verify_receipt
from tests.unit.storage.sealed import IDENTITY, NODE, OTHER_NODE, STARTED_US


def receipt(backup_days: float = 30.0) -> dict[str, str]:
    record = create_data_key("cell-1", "gate-1", "main", STARTED_US, 3600, "node-1", NODE, [IDENTITY.recipient]).record
    at_us = STARTED_US + 86_400 * SECOND_US
    return build_receipt(
        record, ["catalogue", "bucket"], 3, at_us, "lan", "a court", backup_days, 300.0, "node-1", NODE
    )


def test_a_receipt_says_what_went_and_until_when_a_copy_may_live() -> None:
    document = verify_receipt(receipt(), NODE.public)
    assert document["statement"] == "destroyed as far as this system knows"
    assert document["copies_destroyed"] == ["catalogue", "bucket"]
    assert (document["destroyed_by"], document["reason"]) == ("lan", "a court")
    days = [document[name][:10] for name in ("period_start", "destroyed_at", "backups_expire_at")]
    assert days == ["2026-09-21", "2026-09-22", "2026-10-22"]


def test_a_receipt_names_no_date_of_backups_that_nobody_knows() -> None:
    assert verify_receipt(receipt(backup_days=0.0), NODE.public)["backups_expire_at"] is None


def test_a_receipt_that_was_changed_or_signed_by_another_is_refused() -> None:
    made = receipt()
    changed = made | {"document": made["document"].replace("a court", "a count")}
    for one, key in ((changed, NODE.public), (made, OTHER_NODE.public)):
        with pytest.raises(FootageRefused) as refused:
            verify_receipt(one, key)
        assert refused.value.code == "signature_wrong"
    unsigned = {"document": made["document"]}
    broken: tuple[object, ...] = ({}, [], None, {"document": "{}"}, unsigned, made | {"signature": "z"})
    for one in broken:
        with pytest.raises(FootageRefused) as refused:
            verify_receipt(one, NODE.public)
        assert refused.value.code == "receipt_broken"
