"""What the rehearsal hosts share. Literals only; images and releases are built, so the inventory names them."""

release = "a"

host = {
    # Sizes of a build machine, not of a host with two cards.
    "minimum_memory_gib": 8,
    "minimum_disk_gib": 4,
}

doctor = {"advised_memory_gib": 16, "advised_processors": 2}

storage = {"device": "/dev/nvme1n1"}

weights = {"sources": [{"kind": "folder", "path": "/opt/rehearsal/models"}]}

runtime = {"additional_image_stores": ["/opt/rehearsal/images"]}

engine = {
    "ready_timeout_seconds": 600,
    "shutdown_timeout_seconds": 30,
}

router = {"user_limit": {"requests_per_second": 5, "burst": 20}}

firewall = {"confirm_seconds": 30}
