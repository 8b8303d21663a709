import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { hintsOf } from '../../src/early-hints.ts'
import { freshen } from '../../src/freshen.ts'
import { DiskStore } from '../../src/index.ts'
import { RecentPurges } from '../../src/recent-purges.ts'
import { formatHead, formatStart, roomFor } from '../../src/store/entry-file.ts'
import { FileReads, type Read } from '../../src/store/file-reads.ts'
import { entry, put } from './helpers.ts'

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
const files = (path: string): string[] => readdirSync(path).filter((name) => name.endsWith('.entry'))

t.test('what is purged while a disk completes it is not stored: before it has its name, and after', async (t) => {
  for (const asked of [1, 2]) {
    const path = t.testdir({})
    const store = new DiskStore({ path: join(path, String(asked)) })
    t.teardown(() => store.close())
    await store.ready
    const one = entry('http://a.example/x')
    const writer = store.create(one, 3)!
    writer.write(Buffer.from('abc'))
    let times = 0
    const stored = writer.commit([], () => ++times < asked)
    // Whoever purges waits for it.
    await store.settled()
    t.equal(times, asked)
    t.same(files(join(path, String(asked))), [])
    t.equal(await stored, false)
    t.same(store.get(one.key), [])
  }
})

t.test('of several changes of one response the last one is in its file', async (t) => {
  const path = t.testdir({})
  const store = new DiskStore({ path })
  await store.ready
  for (let i = 0; i < 50; i++) await put(store, entry(`http://a.example/${i}`), 'body')
  for (const one of store.entries()) {
    for (const lifetime of [1000, 2000, 3000, 4000, 0]) {
      one.lifetime = lifetime
      store.update(one)
    }
  }
  await store.close()
  const after = new DiskStore({ path })
  t.teardown(() => after.close())
  await after.ready
  t.same([...after.entries()].map(({ lifetime }) => lifetime), Array.from({ length: 50 }, () => 0))
})

/** A file with a response whose fields say how often it was changed. */
function write (path: string, lifetime: number): string {
  const one = entry('http://a.example/x', { 'cache-tag': 'x' })
  one.lifetime = lifetime
  one.size = 0
  const head = formatHead(one)
  const room = roomFor(head)
  const file = join(path, 'x.entry')
  writeFileSync(file, formatStart(head, { room, sum: 0 }, 0)!)
  return file
}

t.test('a file that is changed while it is read is read once more', async (t) => {
  const path = t.testdir({})
  for (let turns = 0; turns < 30; turns++) {
    const file = write(path, 1000)
    const reads = new FileReads(true)
    const taken: (Read | undefined)[] = []
    const work = reads.read('x', file, (read) => { taken.push(read) })
    for (let i = 0; i < turns; i++) await turn()
    if (reads.has('x')) write(path, 5000)
    const again = reads.again('x')
    await work
    t.equal(taken.length, 1)
    t.equal(taken[0]?.entry.lifetime, again ? 5000 : 1000)
  }
})

t.test('a file that was forgotten and is read again: purges since the second time count, and what the first has read is of no use', async (t) => {
  const file = write(t.testdir({}), 1000)
  const reads = new FileReads(true)
  const taken: [string, boolean, boolean][] = []
  const read = (name: string): Promise<void> => reads.read('x', file, (read) => { taken.push([name, read!.purged, read!.changed]) })
  const first = read('first')
  reads.forget('x')
  const second = read('second')
  reads.heard({ by: 'tag', names: ['x'], mode: 'soft', at: 0 })
  await Promise.all([first, second])
  t.same(taken, [['second', false, true]])
})

t.test('purges of late: of each kind, since a moment; when there are too many, all counts as purged', (t) => {
  const recent = new RecentPurges(3)
  const one = entry('http://a.example/x', { 'cache-tag': 'x', 'cache-groups': '"g"' })
  const [group] = one.groups
  const since = (purge: Parameters<RecentPurges['add']>[0]): boolean => {
    const then = recent.now
    recent.add(purge)
    return recent.concern(one, then) && !recent.concern(one, recent.now)
  }
  t.ok(since({ by: 'url', names: [one.url] }))
  t.ok(since({ by: 'prefix', names: ['http://a.example/'] }))
  t.ok(since({ by: 'tag', names: ['y', 'x'] }))
  t.ok(since({ by: 'all', names: [] }))
  t.ok(since({ by: 'group', names: [group!] }))
  t.notOk(since({ by: 'url', names: ['http://a.example/y'] }))
  t.notOk(since({ by: 'prefix', names: ['http://b.example/'] }))
  t.notOk(since({ by: 'tag', names: ['http://a.example/x'] }))
  const then = recent.now
  for (let i = 0; i < 3; i++) recent.add({ by: 'tag', names: [`t${i}`] })
  t.notOk(recent.concern(one, then))
  for (let i = 3; i < 7; i++) recent.add({ by: 'tag', names: [`t${i}`] })
  t.ok(recent.concern(one, then), 'nobody knows any more')
  t.notOk(recent.concern(one, recent.now - 1))
  t.end()
})

t.test('the links sent ahead are those of the fields that were validated last', (t) => {
  const one = entry('http://a.example/x', { link: '</old.css>; rel=preload' })
  t.same(hintsOf(one), ['</old.css>; rel=preload'])
  const fields = ['cache-control', 'max-age=60', 'etag', '"a"', 'link', '</new.css>; rel=preload']
  t.ok(freshen(one, { fields, requestHeaders: {}, requestTime: one.responseTime, responseTime: one.responseTime, origin: 'http://a.example' }, {
    targets: [], heuristic: { fraction: 0, max: 0 }, setCookie: 'store', ttl: () => undefined, ttlOverrides: false, staleWhileRevalidate: 0
  }))
  t.same(hintsOf(one), ['</new.css>; rel=preload'])
  t.end()
})
