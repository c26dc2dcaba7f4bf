"""Every option of the hosts in inventories/prod.py: edit this example. Literals only, and no names but the options'.

Lines marked EDIT have no default that fits you: both images, the manifest, NVIDIA's key, storage/device,
webui/admin_email and edge/server_name.
An option that keeps its default may be left out. A line that begins with "#: " or "# or: " is an alternative: take that
away to use it, and take out the line that it stands for. Zeros stand for digests of your own; the comment beside them
says how to find them.
"""

# The wanted release: one of the names in `releases`, always in quotes.
# For one run: pyinfra inventories/prod.py deploys/install.py --data 'release="2026.11"'
release = "2026.11"

# Everything that decides what answers. Never edit a release that was installed: add another one beside it.
releases = {
    "2026.11": {
        # EDIT. The vLLM image by the digest of its linux/amd64 manifest, not of the list over all platforms, and
        # without a tag: skopeo inspect --raw docker://REGISTRY/vllm/vllm-openai:v0.32.0
        # prints that list (`| python3 -m json.tool`: in many lines; REGISTRY: the host name of Docker Hub or of a
        # mirror); take the digest of the entry whose platform is linux/amd64, and write
        # REGISTRY/vllm/vllm-openai@sha256:...
        "image": "registry.example/vllm-openai@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "model": {
            # The name clients ask for; the same in every release.
            "name": "gpt-oss-20b",
            # EDIT. Every file of the model with size and SHA-256, made once by:
            # python -m tandem.manifest openai/gpt-oss-20b --output manifests/gpt-oss-20b.json
            # Another revision gets another file, named in the new release only.
            "manifest": "manifests/gpt-oss-20b.json",
        },
        # Further `vllm serve` options, names without the leading --. Address, model name, keys, tool calls and
        # draining are set by Tandem and refused here.
        "arguments": {
            # The longest conversation (tokens).
            "max-model-len": 32768,
            # The share of a card's memory that must be free at start.
            "gpu-memory-utilization": 0.92,
            # Memory for conversations in progress (bytes, here 5 GiB): room for about 5 of the longest at once.
            "kv-cache-memory-bytes": 5368709120,
            # Requests answered at the same time by one engine; the others wait.
            "max-num-seqs": 64,
        },
        # Further environment variables of the engine, as text; never a secret.
        "environment": {
            "VLLM_NO_USAGE_STATS": "1",
        },
        # The CUDA version that the image was built with: it decides which driver is needed.
        "cuda": "13.0",
        # replicas: one engine per card, each with the whole model.
        "topology": "replicas",
    },
}

# What the machine must have before anything is touched.
host = {
    # Refuse a host with less memory, or a fresh one with less free space on / or in the image store (GiB).
    "minimum_memory_gib": 60,
    "minimum_disk_gib": 60,
    # Debian packages to install besides Tandem's own.
    "extra_packages": [],
    # Give up on a silent package mirror after this long.
    "package_mirror_timeout_seconds": 60,
    # Go on when the host is not Debian 13.
    "accept_untested_os": False,
    # Debian's security updates install themselves, except kernel and driver. What serves uses them after its next
    # restart.
    "security_updates": True,
}

# Thresholds of the checks that doctor.py prints and that install makes first.
doctor = {
    # Warn below this memory (GiB) and number of processors.
    "advised_memory_gib": 64,
    "advised_processors": 8,
    # Refuse a card with less memory, or one of which others (a display server) hold more than this (MiB).
    "minimum_card_memory_mib": 22000,
    "maximum_foreign_card_memory_mib": 1024,
    # Warn of a card that is slower connected than this: PCI Express generation and lanes.
    "advised_link_generation": 4,
    "advised_link_width": 8,
    # Warn of an NVMe disk that is worn more.
    "maximum_disk_wear_percent": 90,
    # Give up on a silent source or mirror.
    "network_timeout_seconds": 10,
}

# Driver, CUDA and how containers reach the cards.
gpu = {
    # nvidia: NVIDIA's packages from `repositories`; distro: Debian's own; none: it is there already, never touched.
    "driver_source": "nvidia",
    # Never leave this branch: 580 is supported until June 2028, and CUDA 13 images need it.
    "driver_branch": "580",
    # Exactly this version of the branch; without it the newest one at install.
    #: "driver_version": "580.159.04",
    # NVIDIA's own repository or a mirror of it, with the key that signs it. suite and components: / and none for a
    # flat repository, as NVIDIA's are.
    "repositories": [
        {
            "name": "cuda",
            "url": "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64",
            "suite": "/",
            "components": [],
            # EDIT. A file on this machine: curl -fo keys/nvidia.asc URL/8793F200.pub
            "key": "keys/nvidia.asc",
        },
    ],
    # NVIDIA's container toolkit, and the CDI specification kept in step with the driver. False: it is there already.
    "container_toolkit": True,
    # The CUDA toolkit of the driver's branch. Serving does not need it.
    "cuda_toolkit": False,
    # Power limit by card (watts), for example {0: 350, 1: 350}.
    "power_limit_watts": {},
    # Reboot once when a new driver needs it and nothing serves yet.
    "allow_reboot": False,
    # On a host that serves: drain, change the driver, reboot. Nothing is served meanwhile.
    "allow_outage": False,
}

# The disk for the weights, mounted at weights/directory. Formatted only when blank.
# Leave `storage` out to keep the weights on /.
storage = {
    # EDIT. A whole disk by its lasting name on the host (ls -l /dev/disk/by-id), or take storage out.
    "device": "/dev/disk/by-id/nvme-EXAMPLE_1TB_0000",
    # ext4 or xfs
    "filesystem": "ext4",
    # At most 12 characters.
    "label": "weights",
    # A filesystem that is there already and shall be used: blkid -o value -s UUID DEVICE
    #: "uuid": "00000000-0000-0000-0000-000000000000",
    # The serial number of a disk whose whole content may be destroyed, once: lsblk -dno SERIAL DEVICE
    #: "erase": "SERIAL",
    # Warn of a disk that reads slower than this (MiB/s).
    "advised_read_mib_per_second": 1000,
}

# Model files: where they are kept, and where missing ones come from.
weights = {
    "directory": "/srv/weights",
    # Tried in this order for files that are missing.
    "sources": [
        # folder: a folder on the host with one sub-folder per revision: PATH/REVISION/config.json
        #: {"kind": "folder", "path": "/root/models"},
        # archive: a tar archive on the host; the files stand at its top or in one folder.
        #: {"kind": "archive", "path": "/root/gpt-oss-20b.tar"},
        # http: a plain web server with one sub-folder per revision: URL/REVISION/config.json
        #: {"kind": "http", "url": "https://mirror.example/models"},
        # huggingface: the hub, or a mirror that speaks its API.
        {"kind": "huggingface", "endpoint": "https://huggingface.co"},
        # modelscope: the hub of that name. repository: the model's name there when it is another.
        #: {
        #:     "kind": "modelscope",
        #:     "endpoint": "https://www.modelscope.cn",
        #:     "repository": "openai-mirror/gpt-oss-20b",
        #: },
    ],
    # Files downloaded at the same time.
    "parallel_downloads": 4,
    # Give up on a source that sends nothing for so long. The next run goes on where it stopped.
    "stall_timeout_seconds": 60,
    # Remove models that no declared release uses; never one that serves or is kept for rollback.
    "remove_unused": False,
}

# Podman: where images are kept and where they come from.
runtime = {
    # On a disk with room: two engine images exceed 20 GB.
    "image_store": "/var/lib/containers/storage",
    # Read-only image stores searched before any source.
    "additional_image_stores": [],
    # Tried in this order for an image that is not in a store.
    "image_sources": [
        # registry: as the image's name says. insecure: speak plain HTTP, for a registry on your own network.
        {"kind": "registry", "insecure": False},
        # mirror: prefix, HOST[:PORT][/PATH], replaces the registry's host in the image's name.
        #: {"kind": "mirror", "prefix": "mirror.example:5000/vllm", "insecure": False},
        # oci-layout: a folder on the host, made with `skopeo copy --preserve-digests docker://IMAGE oci:FOLDER`.
        #: {"kind": "oci-layout", "path": "/root/images/vllm"},
    ],
}

# How the engines are run. All but ready_timeout_seconds is part of the release: a change takes an upgrade.
engine = {
    # Cards by their index in nvidia-smi; one engine runs on each. Others are refused on a host that serves.
    "cards": [0, 1],
    # Give up on an engine that has not completed a request by then.
    "ready_timeout_seconds": 900,
    # How long running requests may finish when an engine stops.
    "shutdown_timeout_seconds": 300,
    # Size of /dev/shm in the container (MiB).
    "shared_memory_mib": 1024,
}

# Open WebUI.
webui = {
    # EDIT. By the digest of its linux/amd64 manifest, found as for the engine image:
    # skopeo inspect --raw docker://REGISTRY/open-webui/open-webui:v0.12.4 (REGISTRY: GitHub's container registry)
    "image": "registry.example/open-webui@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    # The name shown in the page.
    "name": "Tandem",
    # EDIT. The first administrator, made by install. The password is a secret, see below.
    "admin_email": "admin@chat.example",
    "admin_name": "Administrator",
    # A WebUI that is silent for so long at its first start is restarted once; after twice as long install gives up.
    "ready_timeout_seconds": 300,
    # Prompts that everybody is offered: a folder on this machine with *.md files; None: none. An edited file updates a
    # prompt that nobody touched; what people change or remove in the WebUI stays so.
    "prompts": "prompts",
}

# The split between slots, on loopback only.
router = {
    # The longest stream allowed; old workers live this long after a reload.
    "longest_stream_seconds": 3600,
    # Requests to the engines by one person in the WebUI: a message is about four, with its title and its tags.
    "user_limit": {"requests_per_second": 5, "burst": 10},
    # Answers in progress at the same time for one person.
    "user_streams": 8,
}

# The public front door.
edge = {
    # EDIT. The name or address that people type, and further ones for the certificate.
    "server_name": "chat.example",
    "alternative_names": [],
    # The HTTPS port, and the HTTP port that redirects to it.
    "https_port": 443,
    "http_port": 80,
    # Where the certificate comes from.
    "certificate": {
        # generated: by an authority of the host's own, which browsers must be given once.
        "kind": "generated",
        # files: one that you have (PEM): first yours, then its intermediates; it must name server_name and every
        # alternative name. The key has no passphrase. For a new one replace the files and run install.
        #: "kind": "files", "certificate": "keys/certificate.pem", "key": {"file": "~/chat.key"},
        # acme: from Let's Encrypt, renewed by the host itself. server_name must be a public DNS name of this host, and
        # port 80 must be open to the Internet.
        # or: "kind": "acme", "email": "admin@chat.example",
        # Only for another authority: its directory, and the certificates that its own HTTPS is trusted by.
        # or: "directory": "https://ca.chat.example/directory", "authority": "keys/authority.pem",
    },
    # For how long browsers insist on HTTPS (HSTS). 0: they are not told to.
    "hsts_seconds": 63072000,
    # Who the browser's password prompt lets in. Each has a password; who is no longer named is out at the next install.
    "users": ["team"],
    # The cookie that stands for the password is renewed so often, and ends at the latest after twice this time.
    "gate_days": 7,
    # Programs that use the API: each has a key of its own, a steady rate, how many requests may come at once on top of
    # it, and how many answers may be in progress at the same time: about the rate times the seconds of an answer.
    "clients": {
        "default": {"requests_per_second": 5, "burst": 10, "streams": 16},
    },
    # Requests for the page from one address: opening it takes about 200.
    "page_limit": {"requests_per_second": 200, "burst": 2000},
    # Passwords tried from one address; everybody together may try 20 a second.
    "password_limit": {"requests_per_second": 1, "burst": 10},
    # The largest upload (MiB).
    "maximum_body_mib": 100,
}

# What may come in: HTTPS, HTTP, SSH, and nothing else. SSH takes keys only.
firewall = {
    # False: no rule and no SSH setting of ours, and those of an earlier run are removed; another firewall guards.
    "enabled": True,
    # Networks that SSH answers: better your own than all.
    "ssh_from": ["0.0.0.0/0", "::/0"],
    # Further TCP ports that answer everybody.
    "open_ports": [],
    # UDP ports that answer everybody. If SSH comes through a VPN that ends on this host, its port must be here: the
    # trial does not notice, because the tunnel that is up stays up.
    "open_udp_ports": [],
    # New rules are taken back after so long unless a new SSH connection works.
    "confirm_seconds": 60,
}

# The journal of the whole host: the access log, and what engines, WebUI and all other programs write.
logs = {
    # Lines that are older, and the oldest beyond this size (MiB), are removed.
    "retention_days": 30,
    "maximum_mib": 2048,
}

# How a new release takes the old one's place. Changes do not reach an upgrade that has begun.
upgrade = {
    # The new release's shares of the requests (percent), each watched for window_seconds. Speed is compared at 50.
    "weights": [10, 30, 50, 70, 90, 100],
    "window_seconds": 86400,
    # How long the old release is kept able to serve once all requests go to the new one: until then going back takes
    # less than a second.
    "soak_seconds": 259200,
    # A window without a verdict is made longer so often; then the upgrade is held and people are asked.
    "most_extensions": 3,
    # Where two releases do not fit on one card, each has half of the cards. soak_end: until the soak ends; full: the
    # new one gets all at 100 %, and going back from there takes the start of the old one.
    "convert_at": "soak_end",
    # Go on where nothing can be served while one release replaces the other: one card, and both do not fit on it.
    "allow_gap": False,
    # How the new release is compared with the old one: the same questions to both, before and while it serves.
    "comparison": {
        # Files of questions with what is expected of an answer, or folders with such files, on this machine.
        "cases": ["cases"],
        # A question to both at most so often.
        "pair_seconds": 10.0,
        # What a window needs for a verdict: requests, pairs of answers, and cases that the old release passes.
        "requests": 65,
        "pairs": 50,
        "least_cases": 7,
        # How many times slower the new release may be.
        "margin": 1.2,
        # What its answers may typically take.
        "limits": {"first_token_seconds": 5.0, "total_seconds": 60.0, "token_gap_seconds": 0.25},
        # An engine with requests that makes no token for so long is dead: longer than the longest prompt takes to read.
        "hang_seconds": 120.0,
    },
}

# Who is told when an upgrade is held, undone or finished, and of drift, a failed backup, a certificate that ends: a
# program on the host that reads one JSON object, or an address that it is posted to. Leave it out and nobody is told.
#: notify = {"command": ["/usr/local/bin/tell-us"]}
# or: notify = {"url": {"env": "TANDEM_NOTIFY_URL"}}

# Users and chats, secrets, what is rendered and the record of what serves, saved every day, encrypted on the host, and
# tried in a scratch Open WebUI. Leave it out and there are no backups; status and doctor warn of that.
#: backup = {
#:     # Public keys of age: `age-keygen -o FILE` makes a key and prints its public half. Keep FILE away from the host;
#:     # without it nobody can restore anything.
#:     "recipients": ["age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"],
#:     # Where they are kept on the host. deploys/backup.py makes one and fetches it.
#:     "directory": "/var/backups/tandem",
#:     # The newest one of each of so many days, weeks and months.
#:     "keep": {"daily": 7, "weekly": 4, "monthly": 6},
#:     # A program that the host itself copies each with, or None; {file} is the backup's path.
#:     "target": {"command": ["rclone", "copy", "{file}", "far:tandem"]},
#:     # The hour of the daily one, by the host's clock.
#:     "hour": 3,
#:     # Start Open WebUI on what was saved, each time.
#:     "verify": True,
#:     # Warn when the last one is older.
#:     "warn_after_hours": 24,
#: }

# Install from a folder on the host and ask no network: `make bundle` makes it on a connected machine.
#: bundle = {"path": "/mnt/bundle", "key": "keys/bundle.asc"}

# Secrets that you choose. Those not named are generated on the host. Never write a secret itself here.
# env: the name of an environment variable; file: the path of a file; command: a program and its arguments that prints
# the secret in one line and nothing else (sops, pass, a vault). All on the machine that runs pyinfra. A password: 12 to
# 72 ASCII characters without spaces, quotes and backslashes. A key: 16 to 200 letters, digits or ._~+/=-
secrets = {
    # The browser's prompt, by user in edge.
    "passwords": {
        #: "team": {"env": "TANDEM_PASSWORD_TEAM"},
    },
    # The API, by client in edge.
    "keys": {
        #: "default": {"command": ["pass", "show", "tandem/default"]},
    },
    # The first administrator of the WebUI.
    #: "webui_admin_password": {"file": "~/tandem-webui-admin"},
}
