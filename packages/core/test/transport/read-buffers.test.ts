import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { NativeTransport, parseTarget, systemClock } from '../../src/index.ts'
import { ReadBuffers } from '../../src/transport/read-buffers.ts'
import { send } from './recorder.ts'

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

/** Is the share of doubled buffers untouched? */
const noneDoubled = (): boolean => {
  const whole = new ReadBuffers(33_554_432)
  const buffer = whole.larger(whole.take())
  if (buffer !== undefined) whole.drop(buffer)
  return buffer !== undefined
}

t.test('a buffer may be doubled once, as long as all that are doubled take no more than 64 MiB', async (t) => {
  const transports = [new ReadBuffers(LARGE), new ReadBuffers(LARGE)]
  const doubled = Array.from({ length: 128 }, (_, i) => transports[i % 2]!.larger(transports[i % 2]!.take()))
  t.ok(doubled.every((buffer) => buffer?.length === 2 * LARGE))
  t.equal(transports[0]!.larger(doubled[0]!), undefined)
  t.equal(transports[0]!.larger(transports[0]!.take()), undefined, 'the share is used up')
  transports[0]!.drop(doubled[0]!)
  const next = transports[1]!.larger(transports[1]!.take())!
  t.equal(next.length, 2 * LARGE)
  transports[1]!.give(next)
  t.equal(transports[1]!.larger(transports[1]!.take()), next, 'and used again')
  transports[1]!.drop(next)
  t.notOk(noneDoubled())
  for (let i = 1; i < doubled.length; i++) transports[i % 2]!.drop(doubled[i]!)
  t.ok(noneDoubled())
  const idle = transports[0]!.idle(transports[0]!.larger(transports[0]!.take())!, 10_000_000, true)
  t.equal(idle.length, LARGE, 'an idle connection keeps none')
  transports[0]!.busy(idle)
  t.ok(noneDoubled())
})

t.test('large responses give back what they took, however they end', async (t) => {
  const body = Buffer.alloc(8_000_000, 'abcdefghijklm')
  const server = createServer((_request, response) => { response.end(body) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const transport = new NativeTransport(parseTarget(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'url'), {}, systemClock)
  t.teardown(() => { transport.destroy() })
  let sawLarger = false
  for (const end of ['whole', 'aborted', 'aborted while held', 'whole']) {
    const recorder = send(transport, {}, {
      onData (recorder, chunk) {
        if (chunk.length > LARGE) sawLarger = true
        if (end === 'whole' || recorder.size < 6_000_000) return true
        const abort = (): void => {
          recorder.attempt.abort()
          recorder.close()
        }
        if (end === 'aborted') abort()
        else setImmediate(abort)
        return false
      }
    })
    const { size, violation } = await recorder.ended
    t.equal(violation, '')
    if (end === 'whole') t.equal(size, body.length)
  }
  t.ok(sawLarger, 'more than the usual buffer holds was read at once')
  t.ok(noneDoubled())
})
