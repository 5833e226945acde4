"""Concurrency of the component model: tasks, threads, waitables, streams and futures, and the door to trio.

| module | is |
|---|---|
| `states` | the legal transitions, as tables |
| `thread` | `Thread` and `Task` |
| `waitable` | `Waitable`, `WaitableSet`, `Subtask` |
| `streams` | the rendezvous of streams and futures, and the ends that guests hold |
| `scheduler` | runs threads; plain synchronous code |
| `calls` | `canon lift` and `canon lower` for tasks |
| `driver`, `ends` | the trio store, and stream ends as trio has them |
"""
