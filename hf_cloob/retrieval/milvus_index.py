# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A Milvus collection as the index of a memory: embedded in a local file, or a cluster, by the address alone.

    index = MilvusIndex.build(memory.image_embeds, memory.ids, "images", uri="memory_index.db")
    memory.set_index(image_index=index)     # later: memory.set_index(MilvusIndex("images", uri="memory_index.db"))

A file (really a folder, which must end in .db) is open in one process at a time, until `close` or the process's end.
"""

from pathlib import Path

import torch

DEFAULT_URI = "memory_index.db"
ID_FIELD, KEY_FIELD = "id", "key"
# 8 MB of a message at 1,024 dimensions; Milvus allows 64.
ROWS_AT_ONCE = 2048
QUERIES_AT_ONCE = 256
# Milvus gives no more results a query.
MAX_RESULTS = 16_384


class MilvusIndex:
    """A collection of ids and keys in Milvus; see [`RecoIndex`] for what its methods are for.

    The collection changes at once when the memory is edited: save the memory too, or the two no longer fit.

    Args:
        collection_name: a collection that `build` has made.
        uri: a local file for the embedded milvus-lite, or the address of a Milvus server or cluster.
        token: "user:password" or an API key, where the server asks for one.
        ef_search: candidates that are looked at by a search; more find more and take longer.

    Raises:
        ValueError: if there is no such file, server or collection, or the collection was not made by `build`.
    """

    def __init__(self, collection_name: str, uri: str = DEFAULT_URI, token: str = "", ef_search: int = 256):
        if "://" not in uri and not Path(uri).exists():
            raise ValueError(f"There is no Milvus file {uri!r}: MilvusIndex.build makes one.")
        self._client, self._uri = _connected(uri, token), uri
        self._name, self._ef_search = collection_name, ef_search
        if not self._client.has_collection(collection_name):
            raise ValueError(
                f"{uri!r} holds no collection {collection_name!r}, but {self._client.list_collections()}: "
                "MilvusIndex.build makes one."
            )
        fields = {field["name"]: field for field in self._client.describe_collection(collection_name)["fields"]}
        if set(fields) != {ID_FIELD, KEY_FIELD}:
            raise ValueError(
                f"The collection {collection_name!r} in {uri!r} has the fields {sorted(fields)}: it was not made by "
                "MilvusIndex.build."
            )
        self._projection_dim = int(fields[KEY_FIELD]["params"]["dim"])
        self._client.load_collection(collection_name)

    @classmethod
    def build(
        cls,
        keys: torch.Tensor,
        ids: torch.Tensor,
        collection_name: str,
        uri: str = DEFAULT_URI,
        token: str = "",
        num_links: int = 32,
        ef_construction: int = 80,
        ef_search: int = 256,
    ) -> "MilvusIndex":
        """Make a collection with an HNSW graph (Malkov and Yashunin 2018) over a memory's keys.

        Args:
            keys: (memory_size, projection_dim), the memory's `image_embeds` or `text_embeds`.
            ids: (memory_size,), its `ids`.
            collection_name: letters, digits and underscores; one for images and another for texts.
            uri: see the class.
            token: see the class.
            num_links: neighbors of each key in the graph (M).
            ef_construction: candidates that are looked at while a key is linked.
            ef_search: see the class.

        Raises:
            ValueError: if there is a collection of that name already, or no server.
        """
        client = _connected(uri, token)
        from pymilvus import DataType

        if client.has_collection(collection_name):
            raise ValueError(f"{uri!r} has a collection {collection_name!r} already: drop it or choose another name.")
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID_FIELD, DataType.INT64, is_primary=True)
        schema.add_field(KEY_FIELD, DataType.FLOAT_VECTOR, dim=keys.shape[1])
        # Strong: an entry is found, or no longer found, as soon as the edit returns.
        client.create_collection(collection_name, schema=schema, consistency_level="Strong")
        _insert(client, collection_name, keys.cpu(), ids.cpu())
        client.flush(collection_name)
        graph = client.prepare_index_params()
        sizes = {"M": num_links, "efConstruction": ef_construction}
        graph.add_index(KEY_FIELD, index_type="HNSW", metric_type="IP", params=sizes)
        client.create_index(collection_name, graph)
        return cls(collection_name, uri, token, ef_search)

    @property
    def projection_dim(self) -> int:
        return self._projection_dim

    def __len__(self) -> int:
        return self._client.query(self._name, output_fields=["count(*)"])[0]["count(*)"]

    def has(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.isin(part, self._entities(part, ID_FIELD)[0]) for part in ids.split(ROWS_AT_ONCE)])

    def keys(self, ids: torch.Tensor) -> torch.Tensor:
        held, keys = self._entities(ids, ID_FIELD, KEY_FIELD)
        ascending, order = held.sort()
        return keys[order[torch.searchsorted(ascending, ids)]]

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        if k > MAX_RESULTS:
            raise ValueError(f"Milvus finds {MAX_RESULTS} entries for a query at most, not {k}, exclusions included.")
        ids = torch.full((len(queries), k), -1)
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            found = self._client.search(
                self._name,
                list(queries[first : first + QUERIES_AT_ONCE].numpy()),
                limit=k,
                # Milvus wants no fewer candidates than results.
                search_params={"params": {"ef": max(self._ef_search, k)}},
                output_fields=[ID_FIELD],
            )
            for row, hits in enumerate(found, start=first):
                ids[row, : len(hits)] = torch.tensor([hit[ID_FIELD] for hit in hits], dtype=torch.int64)
        return ids

    def add(self, keys: torch.Tensor, ids: torch.Tensor) -> None:
        _insert(self._client, self._name, keys, ids)

    def remove(self, ids: torch.Tensor) -> None:
        for part in ids.split(ROWS_AT_ONCE):
            self._client.delete(self._name, ids=part.tolist())

    def close(self) -> None:
        """Close the connection and, of a local file, all collections in it, so that another process can open it."""
        self._client.close()
        if "://" not in self._uri:
            from milvus_lite import server_manager_instance

            server_manager_instance.release_server(self._uri)

    def _entities(self, ids: torch.Tensor, *fields: str) -> list[torch.Tensor]:
        """Fields of those of some entries that are there, in any order."""
        found = self._client.query(self._name, ids=ids.tolist(), output_fields=list(fields))
        return [torch.tensor([entity[name] for entity in found]) for name in fields]


def _insert(client, collection_name: str, keys: torch.Tensor, ids: torch.Tensor) -> None:
    for some_keys, some_ids in zip(keys.split(ROWS_AT_ONCE), ids.split(ROWS_AT_ONCE), strict=True):
        rows = zip(some_ids.tolist(), some_keys.float().numpy(), strict=True)
        client.insert(collection_name, [{ID_FIELD: number, KEY_FIELD: key} for number, key in rows])


def _connected(uri: str, token: str):
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise ImportError("Milvus indexes need pymilvus: pip install 'hf_cloob[milvus]'") from error
    if "://" not in uri and not uri.endswith(".db"):
        raise ValueError(f"A local Milvus file must end in .db, and a server's address has a '://': got {uri!r}.")
    try:
        return MilvusClient(uri, token=token)
    except MilvusException as error:
        raise ValueError(f"Milvus cannot be reached at {uri!r}: {error}") from error
