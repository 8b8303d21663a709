import { executionAsyncResource } from 'node:async_hooks'

/**
 * One tick's object, kept from when the modules are loaded, so that Node 20 does not lose the hidden class of them all: without it
 * `process.nextTick` takes a sixth of an answer's time. `@headgate/core` does the same for apps that have it.
 */
export const sample: { tick?: object } = {}

process.nextTick(() => { sample.tick = executionAsyncResource() })
