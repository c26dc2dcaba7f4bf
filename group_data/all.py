"""What every host shares. Literals only."""

# pyinfra becomes root for every fact and operation.
_sudo = True
