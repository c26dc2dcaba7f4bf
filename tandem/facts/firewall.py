from tandem.facts.answer import Answer


class FirewallState(Answer):
    """The rules in force, our files, where SSH answers, and whether it takes passwords."""

    program = "observe_firewall"
