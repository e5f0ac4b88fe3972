"""gRPC channels to checked addresses."""

from typing import Any

import grpc

from offhook.base import limits
from offhook.edge.dialogflow.names import Endpoint


def open_channel(endpoint: Endpoint, addresses: list[tuple[str, int]], ca_pem: bytes | None) -> Any:
    """Return a channel to the first of `addresses` that answers, for the name in `endpoint`.

    gRPC looks no name up by itself here: what it connects to has passed the egress gate.
    """
    listed = [(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}") for ip, port in addresses]
    family = "ipv6" if ":" in addresses[0][0] else "ipv4"
    same = [text for text in listed if text.startswith("[") == (family == "ipv6")]
    options: list[tuple[str, str | int]] = [
        ("grpc.default_authority", endpoint.host),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", limits.DIALOGFLOW_MESSAGE_BYTES_MAX),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", round(limits.DIALOGFLOW_KEEPALIVE_S * 1000)),
    ]
    target = f"{family}:{','.join(same)}"
    if not endpoint.tls:
        return grpc.aio.insecure_channel(target, options=options)
    options.append(("grpc.ssl_target_name_override", endpoint.host))
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca_pem), options=options)
