"""On a farm: the plan as a file, its segments as tasks, the join as a job, for schedulers that others have made.

A network file system has no lock to rely on. Any number of tasks may do the same segment at once: each writes under a
name of its own and renames, the bytes are the same, and the join believes nothing but receipts that match them.
"""
