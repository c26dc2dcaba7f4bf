"""What Open WebUI is told about where it is."""

import pytest

from tandem.render.tree import File
from tandem.render.webui import render_webui, webui_path
from tests.unit.nginx_process import example_config


def unit_file(**edge: object) -> str:
    entry = render_webui(example_config(**edge), "blue").entries[webui_path("blue")]
    assert isinstance(entry, File)
    return entry.content


@pytest.mark.parametrize(
    ("edge", "url", "origins"),
    [
        ({"server_name": "ai.example"}, "https://ai.example", "https://ai.example"),
        ({"server_name": "AI.Example", "https_port": 8443}, "https://ai.example:8443", "https://ai.example:8443"),
        ({"server_name": "2001:db8::5"}, "https://[2001:db8::5]", "https://[2001:db8::5]"),
        (
            {"server_name": "ai.example", "alternative_names": ["10.0.0.5", "ai.example"]},
            "https://ai.example",
            "https://ai.example;https://10.0.0.5",
        ),
    ],
)
def test_every_name_that_people_may_type_is_an_origin_as_browsers_write_it(
    edge: dict[str, object], url: str, origins: str
) -> None:
    text = unit_file(**edge)
    assert f'Environment="WEBUI_URL={url}"' in text
    assert f'Environment="CORS_ALLOW_ORIGIN={origins}"' in text


def test_it_cannot_stand_where_the_gate_or_a_router_listens() -> None:
    assert "SocketBindDeny=tcp:18500-18799" in unit_file()
