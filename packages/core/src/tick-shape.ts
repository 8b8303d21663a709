import { executionAsyncResource } from 'node:async_hooks'

/**
 * The object of one `process.nextTick`, kept so that V8 keeps the hidden class that all of them share. Node 20 builds these objects key
 * by key; when collections come while no tick waits, the class is lost, and after some of them the engine looks up each key of each tick
 * by name: 0.2 µs a tick, and a forwarded request takes seven or eight. It has to be made when the modules are loaded: by the time that
 * an app is put together the class may have been lost too often.
 */
export const sample: { tick?: object } = {}

process.nextTick(() => { sample.tick = executionAsyncResource() })
