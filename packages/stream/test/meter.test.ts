import { FlowBuffers } from '@headgate/core'
import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import { Meter } from '../src/tcp/meter.ts'

t.test('where bytes per second are bounded, no more is read at once than may pass at once', async (t) => {
  const meter = new Meter(new FakeClock(), 1_000_000)
  t.equal(meter.burst, 100_000)
  const buffers = new FlowBuffers(262_144)
  const medium = buffers.larger(buffers.take(), meter.burst)!
  t.equal(medium.length, 65_536)
  t.equal(buffers.larger(medium, meter.burst), undefined)
})
