import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import type { Entry } from '../../src/entry.ts'
import { keyHash } from '../../src/store/key-hash.ts'
import { Codec } from '../../src/store/packed/codec.ts'
import { PackedIndex } from '../../src/store/packed/packed-index.ts'
import { Segments } from '../../src/store/packed/segments.ts'
import { SlotTable } from '../../src/store/packed/slot-table.ts'
import { Texts } from '../../src/store/packed/texts.ts'
import { Slots } from '../../src/store/slots.ts'
import { entry } from './helpers.ts'

const text = fc.oneof(
  fc.string({ maxLength: 30 }), fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('', 'OK', 'Content-Type', 'text/html', 'é', '\u0100', 'x'.repeat(300))
)
const number = fc.oneof(
  fc.integer({ min: 0, max: 1e9 }), fc.double(),
  fc.constantFrom(-1, 0, Number.NaN, 1_767_225_600_123, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY, -0, 0.5)
)
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })
const bytes = fc.uint8Array({ maxLength: 60 }).map((of) => Buffer.from(of))

const anEntry: fc.Arbitrary<Entry> = fc.record({
  key: text, url: text, id: text, status: number, reason: text,
  fields: fc.array(text, { maxLength: 12 }),
  responseTime: number, initialAge: number, lifetime: number, staleWhileRevalidate: number, staleIfError: number,
  noCache: fc.boolean(), mustRevalidate: fc.boolean(),
  vary: fc.array(text, { maxLength: 3 }), varyValues: fc.array(maybe(text), { maxLength: 3 }),
  language: maybe(text), etag: maybe(text), lastModified: number, date: number,
  part: maybe(fc.record({ start: number, total: number, asked: text }, { noNullPrototype: true })),
  tags: fc.array(text, { maxLength: 4 }), groups: fc.array(text, { maxLength: 4 }),
  invalidated: fc.boolean(), size: number, body: maybe(bytes),
  encoded: maybe(fc.array(fc.tuple(text, bytes), { maxLength: 2 }).map((list) => new Map(list.map(([coding, body]) => [coding, { body, head: undefined }])))),
  head: fc.constant(undefined), hitAt: fc.constant(undefined)
}, { noNullPrototype: true }).chain((one) => fc.constantFrom(
  one, { ...one, url: one.key.slice(0, 3) }, { ...one, url: one.key }, { ...one, fields: ['ETag', '"a"', ...one.fields], etag: '"a"' }
))

/** All that is compared, as data. */
function plain (one: Entry): unknown {
  const { body, encoded, head: _, hitAt: __, ...rest } = one
  return [rest, body?.toString('hex'), encoded === undefined ? undefined : [...encoded].map(([coding, { body }]) => [coding, body.toString('hex')])]
}

const same = (a: Entry, b: Entry | undefined): boolean => b !== undefined && isDeepStrictEqual(plain(a), plain(b))

t.test('what was packed is unpacked as it was: every field, any text, any number', async (t) => {
  const texts = new Texts()
  const codec = new Codec(texts)
  fc.assert(fc.property(fc.array(anEntry, { minLength: 1, maxLength: 3 }), fc.boolean(), fc.integer({ min: 0, max: 40 }), (entries, bodies, start) => {
    // A text is written as a number from the second time on.
    for (const one of [...entries, ...entries]) {
      const longest = codec.longest(one, bodies)
      const memory = Buffer.alloc(start + longest + 8, 0xaa)
      const end = codec.write(one, bodies, memory, start)
      const beside = bodies ? undefined : { body: one.body, encoded: one.encoded }
      if (end > start + longest || !same(codec.read(memory, start, beside), one) || codec.key(memory, start) !== one.key) return false
      if (!codec.isKey(memory, start, one.key) || !codec.isEntry(memory, start, one)) return false
      for (const key of [`${one.key}x`, `${one.key.slice(1)}\u0101`]) if (codec.isKey(memory, start, key)) return false
      if (codec.isEntry(memory, start, { ...one, id: `${one.id}x` })) return false
      if (!codec.mayBegin(memory, start, ['never', one.url.slice(0, 2)]) || !codec.mayBegin(memory, start, [one.url])) return false
      if (one.key === one.url && /^[\0-\xff]*$/.test(one.key) && codec.mayBegin(memory, start, [`${one.key}x`, `${one.key.slice(0, -1)}\u0101`])) return false
      codec.release(memory, start)
    }
    return true
  }), { numRuns: 300 })
  t.equal(texts.size, 0, 'nobody counts on a text any more')
})

t.test('texts: a number from the second time on, the same for the same, given back with the last one', async (t) => {
  const texts = new Texts()
  t.equal(texts.use('a'), -1)
  const a = texts.use('a')
  t.equal(texts.use('a'), a)
  t.equal(texts.get(a), 'a')
  t.equal(texts.use('x'.repeat(257)), -1)
  t.equal(texts.use('x'.repeat(257)), -1, 'long ones never')
  texts.release(a)
  t.equal(texts.size, 1)
  texts.release(a)
  t.equal(texts.size, 0)
  for (const _ of [1, 2]) for (let i = 0; i < 20_000; i++) texts.use(`${i % 4000} ${Math.floor(i / 4000)}`)
  t.ok(texts.size <= 16_384)
})

t.test('the hash of a key: of all of it, and of a secret', async (t) => {
  const [hash, other] = [keyHash(1, 2), keyHash(1, 3)]
  const seen = new Map<number, string>()
  for (let i = 0; i < 5000; i++) for (const name of [`${i}`, `http://a.example/${i}`, `${i}\u0100`]) seen.set(hash(name), name)
  t.ok(seen.size >= 14_999, 'as good as no collisions')
  t.equal(hash('abc'), hash('abc'))
  t.not(hash('abc'), other('abc'))
  t.not(hash('abc'), hash('abc\0'))
  t.not(hash(''), hash('\0'))
})

t.test('a table of slots is a map of sets, however many share a hash', async () => {
  const step = fc.tuple(fc.constantFrom('insert', 'insert', 'remove'), fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 800 }))
  fc.assert(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
    const [table, slots] = [new SlotTable(), new Slots()]
    const model = new Map<number, number>()
    for (const [action, spread, times] of steps) {
      for (let i = 0; i < times; i++) {
        if (action === 'insert') {
          const slot = slots.take()
          const hash = Math.imul(i % (spread * 20 + 1), 0x9e37_79b1)
          table.insert(slot, hash)
          model.set(slot, hash)
        } else {
          const [first] = model.keys()
          if (first === undefined) break
          table.remove(first)
          model.delete(first)
          slots.give(first)
        }
      }
      if (table.size !== model.size) return false
      const byHash = new Map<number, Set<number>>()
      for (const [slot, hash] of model) byHash.set(hash, (byHash.get(hash) ?? new Set()).add(slot))
      for (const [hash, wanted] of byHash) {
        const found = new Set<number>()
        for (let slot = table.first(hash); slot !== -1; slot = table.next(slot)) found.add(slot)
        if (found.size !== wanted.size || ![...found].every((slot) => wanted.has(slot))) return false
      }
      if (table.first(12_345) !== -1 && !byHash.has(12_345)) return false
    }
    return true
  }), { numRuns: 20 })
})

t.test('segments keep each record until it is removed, and give back what is not in use', async () => {
  const step = fc.tuple(fc.constantFrom('add', 'add', 'remove', 'replace'), fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 1, max: 400 }))
  fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 30, size: 'max' }), (steps) => {
    const [segments, slots] = [new Segments(16_384), new Slots()]
    const model = new Map<number, Buffer>()
    let serial = 0
    const add = (slot: number, length: number): void => {
      const record = Buffer.alloc(length, `${serial++} `)
      model.set(slot, record)
      segments.add(slot, length + 30, (bytes, start) => start + record.copy(bytes, start))
    }
    for (const [action, length, times] of steps) {
      for (let i = 0; i < times; i++) {
        if (action === 'add') {
          const slot = slots.take()
          segments.grow(slot)
          add(slot, (length + i) % 1000)
        } else if (model.size > 0) {
          const slot = [...model.keys()][(length * 7 + i * 13) % model.size]!
          segments.remove(slot)
          if (action === 'replace') add(slot, length)
          else {
            model.delete(slot)
            slots.give(slot)
          }
        }
        if (segments.taken > segments.used * 8 / 7 + 4 * 16_384) return false
      }
      for (const [slot, record] of model) {
        const { bytes, start, end } = segments.find(slot)
        if (!bytes.subarray(start, end).equals(record)) return false
      }
    }
    return true
  }), { numRuns: 20 })
})

/** The index beside plain objects: by key, in the order in which they came. */
class Model {
  readonly entries: Map<string, Entry> = new Map()
  readonly index: PackedIndex

  constructor (options: Partial<ConstructorParameters<typeof PackedIndex>[0]>) {
    this.index = new PackedIndex({ maxBytes: 300_000, maxEntries: 60, eviction: 's3-fifo', maxHot: 4, ...options }, (gone) => {
      if (!this.entries.delete(gone.id)) throw new Error('evicted what was not there')
    })
  }

  add (one: Entry): void {
    this.entries.set(one.id, { ...one })
    if (this.index.add(one) !== this.entries.has(one.id)) throw new Error('is it stored?')
  }

  of (key: string): Entry[] { return [...this.entries.values()].filter((one) => one.key === key) }

  agrees (): boolean {
    const { index, entries } = this
    const ids = new Set<string>()
    for (const one of index.values()) {
      ids.add(one.id)
      if (!same(one, entries.get(one.id))) return false
    }
    return index.size === entries.size && ids.size === entries.size && index.bytes <= 300_000 && index.size <= 60
  }
}

for (const [name, hash] of [['', undefined], [', all hashes the same', () => 7], [', few hashes', (key: string) => key.length & 3]] as const) {
  t.test(`an index of packed entries is a map${name}`, async () => {
    const step = fc.tuple(fc.constantFrom('put', 'put', 'put', 'get', 'get', 'hit', 'change', 'copy', 'grow', 'delete', 'deleteCopy', 'url', 'purge', 'soften'), fc.integer({ min: 0, max: 50 }))
    for (const eviction of ['s3-fifo', 'sieve', 'gdsf'] as const) {
      fc.assert(fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
        const model = new Model({ eviction, ...hash !== undefined && { hash } })
        const { index, entries } = model
        const held = new Map<string, Entry>()
        for (const [action, n] of steps) {
          const url = `http://a.example/${n % 20 === 7 ? 'ü' : n % 20}`
          const key = n % 3 === 0 ? `${url} h:b="${n % 4}"` : url
          if (action === 'put') {
            const one = entry(key, { vary: 'b', 'cache-tag': `t${n % 5}`, 'x-more': 'm'.repeat(n * 20) }, { b: String(n) })
            one.body = Buffer.alloc(n === 50 ? 5000 : n * 10, `${n}`)
            one.size = one.body.length
            model.add(one)
            held.set(key, { ...one })
            continue
          }
          const found = index.get(key)
          const wanted = model.of(key)
          if (found.length !== wanted.length || !found.every((one, i) => same(one, wanted[i]))) return false
          const [first] = found
          const copy = held.get(key)
          if (action === 'url') {
            const wanted = [...entries.values()].filter((one) => one.url === url)
            const all = index.getUrl(url)
            if (all.length !== wanted.length || !all.every((one) => same(one, entries.get(one.id)))) return false
          } else if (action === 'purge' || action === 'soften') {
            const prefix = url.slice(0, -1)
            const wanted = [...entries.values()].filter((one) => action === 'purge' ? one.url.startsWith(prefix) && n < 10 : one.tags.includes(`t${n % 5}`))
            if (action === 'purge' && n >= 10) continue
            const count = index.sweep(action === 'purge' ? { by: 'prefix', names: [prefix] } : { by: 'tag', names: [`t${n % 5}`] }, (one) => {
              if (action === 'purge') {
                entries.delete(one.id)
                index.remove(one)
              } else {
                entries.get(one.id)!.lifetime = one.lifetime = n
                index.update(one)
              }
            })
            if (count !== wanted.length) return false
          } else if (copy !== undefined && (action === 'copy' || action === 'deleteCopy')) {
            const is = entries.has(copy.id)
            if (action === 'deleteCopy') {
              if (index.remove(copy) !== is) return false
              entries.delete(copy.id)
            } else {
              copy.invalidated = !copy.invalidated
              copy.lifetime = n
              if (is) entries.set(copy.id, { ...copy, encoded: copy.encoded ?? entries.get(copy.id)!.encoded })
              index.update(copy)
            }
          } else if (first !== undefined) {
            switch (action) {
              case 'hit': index.touch(first); break
              case 'delete':
                entries.delete(first.id)
                if (!index.remove(first) || index.remove(first)) return false
                break
              case 'change':
                first.invalidated = true
                first.fields = [...first.fields, 'x-changed', String(n)]
                entries.set(first.id, { ...first })
                index.update(first)
                break
              case 'grow':
                first.encoded = new Map([['br', { body: Buffer.alloc(n * 100, 'b'), head: undefined }]])
                entries.set(first.id, { ...first })
                index.update(first)
            }
          }
          if (!model.agrees()) return false
        }
        if (!model.agrees()) return false
        index.clear()
        return index.size === 0 && index.bytes === 0 && index.segmentBytes === 0
      }), { numRuns: 30 })
    }
  })
}

function filled (count: number, options: Partial<ConstructorParameters<typeof PackedIndex>[0]> = {}): PackedIndex {
  const index = new PackedIndex({ maxBytes: 1e9, maxEntries: 1e9, eviction: 's3-fifo', ...options }, () => {})
  for (let n = 0; n < count; n++) {
    const one = entry(`http://a.example/${n % 2 === 0 ? 'even' : 'odd'}/${n}`)
    one.body = Buffer.alloc(100, `${n} `)
    one.size = 100
    index.add(one)
  }
  return index
}

t.test('what is in use stays the object that it is, everything else may be packed', async (t) => {
  const index = filled(100, { maxHot: 8 })
  const held = index.get('http://a.example/even/0')[0]!
  const off = index.guard((one) => one.id === held.id)
  const pass = (): void => { for (let n = 1; n < 100; n += 2) for (const one of index.get(`http://a.example/odd/${n}`)) for (const _ of [1, 2, 3]) index.touch(one) }
  pass()
  t.ok(index.packed > 90)
  t.equal(index.get('http://a.example/even/0')[0], held)
  off()
  pass()
  const now = index.get('http://a.example/even/0')[0]!
  t.not(now, held)
  t.strictSame(plain(now), plain(held))
})

t.test('what is used again and again stays an object among many that pass by', async (t) => {
  const index = filled(3000, { maxHot: 500 })
  const often = Array.from({ length: 50 }, (_, n) => `http://a.example/even/${n * 2}`)
  for (const _ of [1, 2, 3]) for (const key of often) for (const one of index.get(key)) index.touch(one)
  const objects = often.map((key) => index.get(key)[0])
  for (let n = 1; n < 3000; n += 2) index.get(`http://a.example/odd/${n}`)
  t.strictSame(often.map((key, i) => index.get(key)[0] === objects[i]), often.map(() => true))
})

t.test('an object that was given last, and packed and removed since, is no longer one of the index, though another has its slot', async (t) => {
  const index = filled(0, { maxHot: 1 })
  for (let n = 0; n < 2; n++) index.add(entry(`http://a.example/${n}`))
  const [given] = index.get('http://a.example/0')
  for (let n = 2; n < 6; n++) index.add(entry(`http://a.example/${n}`))
  t.ok(index.packed >= 4)
  t.ok(index.remove({ ...given! }))
  index.add(entry('http://a.example/new'))
  t.notOk(index.remove(given!))
  t.equal(index.get('http://a.example/new').length, 1)
})

t.test('memory comes back when entries go, and all of it with the last one', async (t) => {
  const index = filled(40_000, { maxBytes: 2e7, maxHot: 100 })
  const before = index.segmentBytes
  t.ok(before > 9e6)
  let n = 0
  for (const one of index.values()) if (n++ % 10 !== 0) index.remove(one)
  t.equal(index.size, 4000)
  t.ok(index.segmentBytes < before / 4)
  t.ok(index.bytes < before / 4)
  index.clear()
  t.equal(index.segmentBytes, 0)
  t.equal(index.bytes, 0)
})

t.test('a sweep over many goes on bit by bit, and whoever is given an entry has it after the sweep', async (t) => {
  const index = filled(12_000, { maxHot: 100 })
  const swept = index.sweep({ by: 'prefix', names: ['http://a.example/even/'] }, (one) => { index.remove(one) })
  t.ok(swept instanceof Promise)
  t.strictSame(index.get('http://a.example/even/11000'), [], 'not reached yet, and not there any more')
  t.equal(index.get('http://a.example/odd/11001').length, 1)
  const later = entry('http://a.example/even/10000')
  later.body = Buffer.from('later')
  t.strictSame(index.get(later.key), [])
  index.add(later)
  const added = Array.from({ length: 200 }, (_, n) => entry(`http://a.example/even/added/${n}`))
  for (const one of added) index.add(one)
  // Packed again before the sweep comes by.
  for (let n = 1; n < 2000; n += 2) index.get(`http://a.example/odd/${n}`)
  t.ok(index.packed > 10_000)
  t.ok([...index.values()].every(({ url, id }) => !url.includes('even') || id === later.id || url.includes('added')), 'nor among all')
  t.equal(await swept, 6000)
  t.equal(index.size, 6201)
  for (const { key } of added) t.equal(index.get(key).length, 1)
  t.equal(index.get(later.key)[0]!.body!.toString(), 'later')
})

t.test('a sweep that changes entries changes each once', async (t) => {
  const index = filled(6000, { maxHot: 100 })
  const [first, second] = [1, 2].map(() => index.sweep({ by: 'all', names: [] }, (one) => {
    one.lifetime++
    index.update(one)
  }))
  const early = index.get('http://a.example/odd/5001')[0]!
  t.equal(early.lifetime, 60_002, 'both sweeps at once')
  early.lifetime = 5
  index.update(early)
  for (let n = 1; n < 2000; n += 2) index.get(`http://a.example/odd/${n}`)
  t.equal(await first, 6000)
  t.equal(await second, 6000)
  t.equal(index.get('http://a.example/odd/5001')[0]!.lifetime, 5, 'a change after it stays')
  t.ok([...index.values()].every(({ url, lifetime }) => url.endsWith('/5001') || lifetime === 60_002))
})

t.test('a store that is closed ends its sweeps', async (t) => {
  const index = filled(3000, { maxHot: 10 })
  const swept = index.sweep({ by: 'tag', names: ['x'] }, () => {})
  index.clear()
  t.equal(await swept, 0)
  t.equal(index.size, 0)
})
