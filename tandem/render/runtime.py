from tandem.config import Config
from tandem.render.templates import render_template
from tandem.render.tree import File, Tree


def render_runtime(config: Config) -> Tree:
    runtime = config.runtime
    text = render_template(
        "runtime/storage.conf.j2",
        image_store=runtime.image_store,
        additional_image_stores=runtime.additional_image_stores,
    )
    return Tree(
        {
            "/etc/containers/storage.conf": File(text),
            "/etc/containers/containers.conf.d/60-tandem.conf": File(render_template("runtime/containers.conf.j2")),
        }
    )
