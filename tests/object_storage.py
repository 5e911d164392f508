"""An S3 server for tests, by moto, and the environment of a user who has an account there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class ObjectStorage:
    """Buckets of an S3 server. `environment`: the variables that lead to it."""

    def __init__(self, host: str, port: int) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_REGION": "us-east-1",
        }
        import boto3  # here, like moto below: every worker of a run imports this module, and one of them needs it

        self._client = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="s3cret",
        )  # fmt: skip

    def create(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Create a bucket with these objects (key to content)."""
        self._client.create_bucket(Bucket=bucket)
        for key, content in objects.items():
            self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def read(self, bucket: str, key: str) -> bytes:
        return bytes(self._client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in found.get("Contents", [])]


@contextmanager
def object_storage() -> Iterator[ObjectStorage]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield ObjectStorage(*server.get_host_and_port())
    finally:
        server.stop()
