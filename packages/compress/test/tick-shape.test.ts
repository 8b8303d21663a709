import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import '../src/index.ts'
import { sample } from '../src/tick-shape.ts'

t.test('whoever loads the package keeps the object of one tick, as Node makes them', async (t) => {
  await setImmediate()
  const tick = sample.tick as Record<string, unknown>
  t.type(tick['callback'], 'function')
  t.ok(Object.getOwnPropertySymbols(tick).some(({ description }) => description === 'async_id_symbol'))
})
