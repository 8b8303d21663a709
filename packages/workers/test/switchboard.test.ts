import t from 'tap'
import { FakeClock } from '../../core/test/clock.ts'
import { Colleagues } from '../src/colleagues.ts'
import type { FromOthers } from '../src/messages.ts'
import { Switchboard } from '../src/switchboard.ts'

/** The switchboard and so many workers, in one process: what is said goes through JSON, in order, and at once. */
function office (count: number) {
  const clock = new FakeClock()
  const here = new Map<number, Colleagues>()
  const state = { speaker: 1 as number | undefined, dead: new Set<number>() }
  const switchboard = new Switchboard({
    others: (than) => [...here.keys()].filter((id) => id !== than),
    speaker: () => state.speaker,
    send: (id, message) => {
      if (state.dead.has(id) || !here.has(id)) return false
      const copy = JSON.parse(JSON.stringify(message)) as FromOthers
      queueMicrotask(() => { here.get(id)?.take(copy) })
      return true
    }
  }, clock)
  const join = (id: number): Colleagues => {
    const colleagues = new Colleagues((message) => { switchboard.take(id, JSON.parse(JSON.stringify(message)) as typeof message) })
    here.set(id, colleagues)
    colleagues.became(state.speaker === id)
    switchboard.joined(id)
    return colleagues
  }
  const leave = (id: number): void => {
    here.delete(id)
    switchboard.left(id)
  }
  return { clock, state, join, leave, all: Array.from({ length: count }, (_, index) => join(index + 1)) }
}

const turns = async (): Promise<void> => { for (let n = 0; n < 5; n++) await new Promise((resolve) => { setImmediate(resolve) }) }

t.before(() => {
  // As in a worker: without a channel nothing is asked.
  if (!process.connected) Object.defineProperty(process, 'connected', { value: true, configurable: true })
})

t.test('what is told comes to all others, in order; to the speaker alone where that is meant', async (t) => {
  const { all: [a, b, c] } = office(3)
  const heard: string[] = []
  for (const [name, one] of [['a', a], ['b', b], ['c', c]] as const) one!.on('news', (data: unknown, from: number) => { heard.push(`${name} ${String(data)} from ${from}`) })
  b!.tell('others', 'news', 1)
  b!.tell('others', 'news', 2)
  b!.tell('speaker', 'news', 3)
  b!.tell('others', 'nobody listens', 4)
  await turns()
  t.same(heard.filter((text) => text.startsWith('c')), ['c 1 from 2', 'c 2 from 2'])
  t.same(heard.filter((text) => text.startsWith('a')), ['a 1 from 2', 'a 2 from 2', 'a 3 from 2'])
  t.notOk(heard.some((text) => text.startsWith('b')))
})

t.test('who asks gets the answer, what was thrown, or that there is nobody', async (t) => {
  const { all: [a, b], state, leave } = office(2)
  t.equal(a!.speaks, true)
  a!.on('double', async (n: number) => n * 2)
  a!.on('refuse', () => { throw Object.assign(new Error('no'), { code: 'HG_X', statusCode: 409 }) })
  t.equal(await b!.ask('speaker', 'double', 21), 42)
  t.equal(await a!.ask('speaker', 'double', 4), 8, 'who speaks may ask itself')
  await t.rejects(b!.ask('speaker', 'refuse', null), { message: 'no', code: 'HG_X', statusCode: 409 })
  await t.rejects(b!.ask('speaker', 'unknown', null), { code: 'HG_WORKERS_NOBODY', statusCode: 503 })
  a!.on('slow', async () => new Promise(() => {}))
  const slow = b!.ask('speaker', 'slow', null)
  await turns()
  leave(1)
  await t.rejects(slow, { code: 'HG_WORKERS_NOBODY' }, 'it has ended meanwhile')
  state.speaker = undefined
  await t.rejects(b!.ask('speaker', 'double', 1), { code: 'HG_WORKERS_NOBODY' })
})

t.test('answers of all: those who have nothing to say are left out, and who does not answer in 2 s is missing', async (t) => {
  const { all: [a, b, c], clock, state, leave } = office(4)
  b!.on('who', () => 'b')
  c!.on('who', async () => new Promise(() => {}))
  const all = a!.gather('who', null)
  await turns()
  clock.advance(1999)
  await turns()
  clock.advance(1)
  t.same(await all, { answers: [{ from: 2, data: 'b' }], missing: 1 }, 'the fourth has no answer and is not missing')
  const gone = a!.gather('who', null)
  await turns()
  leave(3)
  t.same(await gone, { answers: [{ from: 2, data: 'b' }], missing: 0 }, 'who has ended is not waited for')
  state.dead.add(2)
  t.same((await a!.gather('who', null)).answers, [], 'nor who cannot be reached')
})

t.test('what is kept is told to all, and found by those who come later; left and speaker are told', async (t) => {
  const { all: [a, b], join, leave } = office(2)
  const heard: unknown[] = []
  b!.on('settings', (value: unknown) => { heard.push(value) })
  b!.on('left', (worker: number) => { heard.push(`left ${worker}`) })
  await a!.keep('settings', { x: 1 })
  t.same(heard, [{ x: 1 }])
  t.same(b!.kept('settings'), { x: 1 })
  await a!.keep('settings', { x: 2 })
  const late = join(7)
  await late.ready
  t.same(late.kept('settings'), { x: 2 })
  leave(7)
  await turns()
  t.same(heard.at(-1), 'left 7')
  const spoke: boolean[] = []
  b!.on('speaker', (speaks: boolean) => { spoke.push(speaks) })
  b!.became(true)
  t.same(spoke, [true])
})

t.test('a later handler of a topic takes an earlier one\'s place until it stops', async (t) => {
  const { all: [a, b] } = office(2)
  a!.on('who', () => 'first')
  const stop = a!.on('who', () => 'second')
  t.equal(await b!.ask('speaker', 'who', null), 'second')
  stop()
  stop()
  t.equal(await b!.ask('speaker', 'who', null), 'first', 'as when a configuration is given up that was to replace the one before')
})

t.test('whoever waited for an answer goes on before anything is heard that was told after it', async (t) => {
  const { all: [a, b] } = office(2)
  const order: string[] = []
  a!.on('now', () => {
    // Right after the answer.
    let told = Promise.resolve()
    for (let n = 0; n < 4; n++) told = told.then(() => {})
    void told.then(() => { a!.tell('others', 'news', null) })
    return 'answer'
  })
  b!.on('news', () => { order.push('news') })
  const asked = (async () => {
    await b!.ask('speaker', 'now', null)
    // Some turns of the microtask queue later still.
    for (let n = 0; n < 10; n++) await Promise.resolve()
    order.push('went on')
  })()
  await asked
  await turns()
  t.same(order, ['went on', 'news'])
})

t.test('without the primary nobody waits', async (t) => {
  const { all: [a, b] } = office(2)
  a!.on('slow', async () => new Promise(() => {}))
  const waits = b!.ask('speaker', 'slow', null)
  await turns()
  b!.alone()
  await t.rejects(waits, { code: 'HG_WORKERS_NOBODY' })
})
