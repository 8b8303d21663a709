import t from 'tap'
import { ReadBuffers } from '../../src/transport/read-buffers.ts'

const SMALL = 4096
const MIDDLE = 16_384
const LARGE = 262_144

t.test('a connection that reads little keeps a small buffer while it is idle, one that reads much a large one', async (t) => {
  const buffers = new ReadBuffers(LARGE)
  const first = buffers.take()
  t.equal(first.length, LARGE)
  const small = buffers.idle(first, 400, true)
  t.equal(small.length, SMALL)
  t.equal(buffers.take(), first, 'the large one is there for another')
  buffers.busy(small)
  t.equal(buffers.idle(small, 400, true), small, 'and stays with what it has')
  buffers.busy(small)
  const middle = buffers.idle(buffers.take(), SMALL + 1, true)
  t.equal(middle.length, MIDDLE)
  buffers.busy(middle)
  t.equal(buffers.idle(middle, 400, true), middle, 'a little more is not worth an exchange')
  buffers.busy(middle)
  t.equal(buffers.idle(first, MIDDLE + 1, true), first)
  buffers.busy(first)
  t.equal(buffers.idle(first, 400, false), first, 'what the system has for the next read is not changed')
  buffers.busy(first)
})

t.test('small buffers are used again', async (t) => {
  const buffers = new ReadBuffers(LARGE)
  const small = buffers.idle(buffers.take(), 1, true)
  t.ok(buffers.isSmall(small))
  buffers.give(small)
  t.equal(buffers.idle(buffers.take(), 1, true), small)
})

t.test('all idle connections of the process keep no more than 32 MiB in large buffers', async (t) => {
  const transports = [new ReadBuffers(LARGE), new ReadBuffers(LARGE)]
  const kept = Array.from({ length: 200 }, (_, i) => transports[i % 2]!.idle(transports[i % 2]!.take(), LARGE, true))
  t.equal(kept.filter(({ length }) => length === LARGE).length, 128)
  kept.forEach((buffer, i) => { transports[i % 2]!.busy(buffer) })
  const again = transports[0]!.idle(transports[0]!.take(), LARGE, true)
  t.equal(again.length, LARGE, 'those that are busy or gone count no more')
  transports[0]!.busy(again)
})

t.test('where buffers are small anyway, each keeps its own', async (t) => {
  const buffers = new ReadBuffers(4096)
  const buffer = buffers.take()
  t.equal(buffers.idle(buffer, 1, true), buffer)
  buffers.busy(buffer)
})
