"""One model for a team: what answers over HTTP, in one process or as replicas of a Ray cluster. docs/team.md."""
