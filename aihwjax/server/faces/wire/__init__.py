"""The reference's wire protocol: its messages, their meaning here, and the calls that its client makes.

An unmodified aihwkit client whose ``aihwkit.conf`` names this server uses it like the hosted service.
"""
