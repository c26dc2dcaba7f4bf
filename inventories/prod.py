"""The hosts to provision: edit this example. The options are in group_data/prod.py (the group has this file's name)."""

hosts = [
    (
        "gpu1",
        {
            "ssh_hostname": "gpu1.example",
            "ssh_port": 22,
            # A user with key login and passwordless sudo; root works as well.
            "ssh_user": "operator",
            "ssh_key": "~/.ssh/id_ed25519",
            # Refuse a host whose key is not in the file: README, "Use it on your own host", step 2, adds it.
            "ssh_strict_host_key_checking": "yes",
            "ssh_known_hosts_file": "~/.ssh/known_hosts",
        },
    ),
]
