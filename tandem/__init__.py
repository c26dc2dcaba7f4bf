"""Tandem provisions one host with two GPU cards and upgrades what it serves without anyone noticing.

The layers, in the direction data flows:

- ``tandem.config``      group data -> ``Config``: strict, frozen, one error report
- ``tandem.domain``      pure decisions, standard library only; also used on the host
- ``tandem.render``      ``Config`` -> the tree of files that Tandem owns on a host; pure
- ``tandem.facts``       what is on the host: one remote command each
- ``tandem.operations``  validate, read, diff, say why not, yield
- ``tandem.commands``    the one place that builds shell commands
- ``tandem.steps``       one ``@deploy`` per noun, composed by ``deploys/``
- ``tandem.hostside``    what runs on the host: standard library and ``tandem.domain``
- ``tandem.rehearsal``   builds and boots a disposable real machine to try all of it on
"""
