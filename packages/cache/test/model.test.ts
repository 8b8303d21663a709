import fc from 'fast-check'
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { MemoryStore } from '../src/index.ts'
import { app, TestClock } from './helpers.ts'
import { entry, put } from './store/helpers.ts'

/**
 * The whole cache against a slow and literal model of RFC 9111: random sequences of origin changes, requests, clock steps, unsafe
 * requests and purges. The model keeps every response it may and searches them all.
 */
interface Say { readonly cacheControl: string; readonly etag: boolean; readonly vary: boolean; readonly age: number }
interface Stored { readonly say: Say; version: number; readonly variant: string; at: number; fresh: number; baseAge: number; invalidated: boolean }

const directive = (text: string, name: string): number | undefined => {
  const match = new RegExp(`(?:^|[ ,])${name}=(\\d+)`).exec(text)
  return match === null ? undefined : Number(match[1])
}

class Model {
  stored: Stored[] = []
  now = 0

  /** What a GET has to give: a version, and whether it is from the store. */
  get (say: Say, version: number, variant: string, request: string): { version: number; from: 'store' | 'validated' | 'origin' | 'nowhere' } {
    const candidates = this.stored.filter((one) => !one.say.vary || one.variant === variant)
    const chosen = candidates.sort((a, b) => b.at - a.at)[0]
    if (request === 'no-store') return { version, from: 'origin' }
    if (chosen !== undefined && this.#usable(chosen, request)) return { version: chosen.version, from: 'store' }
    if (request === 'only-if-cached') return { version: -1, from: 'nowhere' }
    if (chosen?.say.etag && say.etag && chosen.version === version) {
      // 304: all with this validator get what the origin says now, and keep what it does not mention.
      this.stored = this.stored.flatMap((one) => {
        if (one.version !== version || !one.say.etag) return [one]
        const merged = { ...say, vary: one.say.vary, cacheControl: say.cacheControl === '' ? one.say.cacheControl : say.cacheControl }
        return this.#storable(merged) ? [{ ...one, say: merged, at: this.now, fresh: lifetime(merged), baseAge: say.age, invalidated: false }] : []
      })
      return { version, from: 'validated' }
    }
    if (this.#storable(say)) {
      this.stored = this.stored.filter((one) => one.say.vary !== say.vary || (say.vary && one.variant !== variant))
      this.stored.push({ say, version, variant, at: this.now, fresh: lifetime(say), baseAge: say.age, invalidated: false })
    }
    return { version, from: 'origin' }
  }

  #storable ({ cacheControl, etag }: Say): boolean {
    if (/no-store|private/.test(cacheControl)) return false
    return etag || lifetime({ cacheControl } as Say) > 0
  }

  #usable (one: Stored, request: string): boolean {
    const age = one.baseAge + this.now - one.at
    const fresh = one.fresh > age
    if (/no-cache/.test(one.say.cacheControl) || request === 'no-cache') return false
    const maxAge = directive(request, 'max-age')
    if (maxAge !== undefined && age > maxAge) return false
    const minFresh = directive(request, 'min-fresh')
    if (minFresh !== undefined && one.fresh - age < minFresh) return false
    if (fresh && !one.invalidated) return true
    const forbidden = /must-revalidate|s-maxage/.test(one.say.cacheControl)
    const maxStale = directive(request, 'max-stale')
    return maxStale !== undefined && !forbidden && !one.invalidated && age - one.fresh <= maxStale
  }
}

const lifetime = ({ cacheControl }: Say): number => directive(cacheControl, 's-maxage') ?? directive(cacheControl, '(?<!s-)max-?age') ?? 0

const say = fc.record({
  cacheControl: fc.constantFrom('max-age=10', 'max-age=100', 'max-age=0', 'no-store', 'private, max-age=10', 'no-cache', 'max-age=10, must-revalidate', 's-maxage=20, max-age=5', ''),
  etag: fc.boolean(), vary: fc.boolean(), age: fc.constantFrom(0, 0, 0, 7)
})
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('change' as const), say, newVersion: fc.boolean() }) },
  { weight: 8, arbitrary: fc.record({
    do: fc.constant('get' as const), variant: fc.constantFrom('a', 'b'),
    request: fc.constantFrom('', '', '', '', 'no-cache', 'no-store', 'max-age=3', 'min-fresh=5', 'max-stale=4', 'only-if-cached')
  }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 30 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('post' as const, 'purge' as const, 'soft' as const) }) }
)

/** A store in which an entry that is not in use is packed as soon as others are asked for; how to do that. */
async function crowded (): Promise<{ store: MemoryStore; crowd: () => void }> {
  const store = new MemoryStore({ maxBytes: 100_000 })
  const keys = Array.from({ length: 40 }, (_, n) => `http://b.example/${n}`)
  for (const key of keys) await put(store, entry(key), 'other')
  return { store, crowd: () => { for (const key of keys) for (const one of store.get(key)) for (const _ of [1, 2, 3]) store.touch(one) } }
}

for (const packs of [false, true]) t.test(`whatever happens, each answer is the model's${packs ? ', though entries are packed in between' : ''}`, async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
    const clock = new TestClock()
    const model = new Model()
    let said: Say = { cacheControl: 'max-age=10', etag: true, vary: false, age: 0 }
    let version = 1
    let asked = 0
    let validated = 0
    const ends: { teardown (action: () => unknown): void; run: (() => unknown)[] } = { run: [], teardown (action) { this.run.push(action) } }
    const { store, crowd } = packs ? await crowded() : { store: new MemoryStore(), crowd: () => {} }
    const { app: instance } = await app(ends, { clock, hitForMiss: 0, store }, (app) => {
      app.get('/x', (request: FastifyRequest, reply: FastifyReply) => {
        asked++
        const etag = `"${version}"`
        if (said.cacheControl !== '') reply.header('cache-control', said.cacheControl)
        if (said.etag) reply.header('etag', etag)
        if (said.vary) reply.header('vary', 'x-variant')
        if (said.age > 0) reply.header('age', String(said.age))
        if (said.etag && request.headers['if-none-match'] === etag) {
          validated++
          return reply.code(304).send()
        }
        return reply.send({ version })
      })
      app.post('/x', async () => 'done')
    })
    try {
      for (const one of steps) {
        crowd()
        switch (one.do) {
          case 'change':
            said = one.say
            if (one.newVersion) version++
            break
          case 'wait':
            clock.advance(one.seconds * 1000)
            model.now += one.seconds
            break
          case 'post':
            await instance.inject({ method: 'POST', url: '/x', headers: { host: 'a.example' } })
            for (const stored of model.stored) stored.invalidated = true
            break
          case 'purge':
            await instance.cache.purge({ urls: ['http://a.example/x'] })
            model.stored = []
            break
          case 'soft':
            await instance.cache.purge({ urls: ['http://a.example/x'], soft: true })
            for (const stored of model.stored) stored.fresh = Math.min(stored.fresh, stored.baseAge + model.now - stored.at)
            break
          case 'get': {
            const [before, validatedBefore] = [asked, validated]
            const expected = model.get(said, version, one.variant, one.request)
            const headers = { host: 'a.example', 'x-variant': one.variant, ...(one.request !== '' && { 'cache-control': one.request }) }
            const response = await instance.inject({ url: '/x', headers })
            const from = response.statusCode === 504 ? 'nowhere' : asked === before ? 'store' : validated > validatedBefore ? 'validated' : 'origin'
            const got = { version: from === 'nowhere' ? -1 : response.json<{ version: number }>().version, from }
            const [wanted, given] = [JSON.stringify(expected), JSON.stringify(got)]
            if (wanted !== given) throw new Error(`${JSON.stringify(one)}: expected ${wanted}, got ${given}`)
          }
        }
      }
    } finally {
      for (const end of ends.run) await end()
    }
  }), { numRuns: 60 })
  t.pass()
})
