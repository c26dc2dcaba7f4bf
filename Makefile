# make rehearse: from nothing to a served chat. make test: everything that proves it. make clean: no trace left.
SHELL := /bin/bash
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env)
BIN := .venv/bin
# What the rehearsal needs on this machine: a real systemd machine, its network, its images, a browserless client.
PACKAGES := python3-venv mmdebstrap systemd-container nftables iproute2 podman buildah uidmap openssh-client \
	e2fsprogs nginx-light apache2-utils openssl gnupg skopeo debian-archive-keyring gcc libc6-dev gpgv \
	chromium libnss3-tools fonts-dejavu-core curl dehydrated pebble age strace

# pyinfra's gevent replaces subprocess and sockets in its own process: what runs on hosts without it is tested without it.
APART := $(addprefix tests/unit/test_,$(addsuffix .py,ask_case backup backup_run calibration cleanup engines fetch_image flips guard knobs load \
	notify prober reserve restore_secrets rollouts sqlite_copy webui_switch))
# Whole in the campaign; of most of them `make test` runs some tests, by chance (tests/faults/sampling.py).
LONG := $(addprefix tests/faults/test_,backup.py webui_upgrade.py bad_upgrades.py bad_trials.py upgrade_crash.py \
	upgrade_faults.py upgrade_host.py engine_faults.py webui_settings.py)

.PHONY: rehearse test lint unit host e2e faults bench campaign bundle clean packages

rehearse: packages .venv/.ready
	$(SUDO) $(BIN)/python -m tandem.rehearsal rehearse

# Leave the tree as it is while this runs: a changed template is a changed host.
# The end-to-end tests come last: they upgrade gpu1, which leaves its record behind.
test: rehearse lint unit host faults e2e

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: .venv/.ready
	$(BIN)/pytest tests/unit tests/golden --durations=15 $(APART:%=--ignore=%)
	$(BIN)/pytest --durations=15 $(APART)

host: .venv/.ready
	$(BIN)/pytest tests/host --hosts=ssh://gpu1 --ssh-config=.rehearsal/ssh_config

e2e: .venv/.ready
	$(SUDO) $(BIN)/pytest tests/e2e --durations=15

faults: .venv/.ready
	$(SUDO) $(BIN)/pytest tests/faults --durations=40

bench: .venv/.ready
	$(SUDO) $(BIN)/python -m tests.bench.install
	$(SUDO) $(BIN)/python -m tests.bench.capacity
	$(SUDO) $(BIN)/python -m tests.bench.edge

campaign: .venv/.ready
	$(SUDO) $(BIN)/python -m tests.campaign
	$(SUDO) TANDEM_CAMPAIGN=1 $(BIN)/pytest $(LONG) -s
	$(SUDO) $(BIN)/python -m tests.bench.upgrade --paced --upgrades 10 --rollbacks 10 --shifts 50 --faults 3

# All that a host without a network needs, in one folder: make bundle INVENTORY=inventories/prod.py HOST=gpu1 TO=FOLDER
# OPTIONS: see python -m tandem.bundle --help
bundle: .venv/.ready
	@$(BIN)/python -m tandem.bundle --inventory "$(INVENTORY)" --host "$(HOST)" --to "$(TO)" $(OPTIONS)

clean:
	$(SUDO) $(PYTHON) -m tandem.rehearsal clean
	$(SUDO) rm -rf .venv .mypy_cache .pytest_cache .ruff_cache runs pyinfra-debug.log build *.egg-info
	$(SUDO) find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@missing=$$(for name in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || echo $$name; done); \
	if [ -n "$$missing" ]; then \
	    echo "installing Debian packages:" $$missing; \
	    $(SUDO) .ci/install-packages $$missing; \
	fi

# The scanners' libraries are older than ours, so they live apart.
.venv/.ready: requirements.lock requirements-audit.lock
	@echo "making the virtual environment .venv from requirements.lock (about half a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-audit.lock
	@touch $@
	@echo "made .venv"
