"""Who works on a task: the client of a hub, the life of one agent, searchers, models, command lines, swarms."""
