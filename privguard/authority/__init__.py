"""Who issues grants: proves factors, enrols them, and lets a second person decide.

Every act is an entry of the log, in one transaction with what it changes; a try is on record before it is
judged.
"""
