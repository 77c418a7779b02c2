"""Small collections that fit into memory: schemas, roles, assignments, domains, the customer. Kept as JSON beside their SQLite rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from belajarid_recon.emulator.storage import Storage

_TABLE = """
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL, tenant TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, tenant, key)
) WITHOUT ROWID;
"""

Document = dict[str, Any]


class Documents:
    """The documents of one kind, by tenant and key."""

    def __init__(self, storage: Storage, kind: str) -> None:
        self._storage = storage
        self._kind = kind
        self._held: dict[str, dict[str, Document]] = {}
        storage.open_tables(_TABLE)
        rows = storage.rows("SELECT tenant, key, body FROM document WHERE kind = ? ORDER BY tenant, key", (kind,))
        for tenant, key, body in rows:
            self._held.setdefault(tenant, {})[key] = orjson.loads(body)

    def get(self, tenant: str, key: str) -> Document | None:
        """The document with this key."""
        return self._held.get(tenant, {}).get(key)

    def all(self, tenant: str) -> Iterator[Document]:
        """A tenant's documents by key. Take a list of them before changing any."""
        held = self._held.get(tenant, {})
        return (held[key] for key in sorted(held))

    def count(self, tenant: str) -> int:
        """How many a tenant has."""
        return len(self._held.get(tenant, {}))

    def put(self, tenant: str, key: str, document: Document) -> None:
        """Store a document in the place of the one with its key."""
        self._held.setdefault(tenant, {})[key] = document
        self._storage.write(
            "INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?)", (self._kind, tenant, key, orjson.dumps(document))
        )

    def drop(self, tenant: str, key: str) -> None:
        """Forget a document that is there."""
        del self._held[tenant][key]
        self._storage.write("DELETE FROM document WHERE kind = ? AND tenant = ? AND key = ?", (self._kind, tenant, key))

    def next_number(self, tenant: str) -> int:
        """Counts on from 1, past deleted ones too."""
        name = f"{self._kind}-made/{tenant}"
        number = int(self._storage.fact(name, "0")) + 1
        self._storage.set_fact(name, str(number))
        return number
