//! What must be true when everything is over: the proxy holds no connection and runs no task.

use std::time::Duration;

use crate::world::World;

/// Waits until the proxy has closed every connection and ended every task, but not for ever. `tasks`: those that it had
/// before the first connection.
pub async fn nothing_is_left(world: &World, tasks: usize, bound: Duration) {
    let quiet = || world.core_connections().is_empty() && world.core_tasks() <= tasks;
    if world.until(bound, quiet).await {
        // What is still on its way to clients and backends arrives.
        return world.sleep(Duration::from_secs(10)).await;
    }
    let open = world.core_connections();
    let running = world.core_tasks();
    world.violated(format!(
        "after {bound:?} of rest {} connections are open and {running} tasks run (at first: {tasks}): {open:?}",
        open.len()
    ));
}
