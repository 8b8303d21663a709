import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { DiskStore, TieredStore } from '../../src/index.ts'
import { Bus } from '../../../workers/test/bus.ts'
import { app, eventually, TestClock } from '../helpers.ts'
import { bodyOf, entry, put } from './helpers.ts'

const root = mkdtempSync(join(tmpdir(), 'headgate-disk-'))
t.teardown(() => { rmSync(root, { recursive: true, force: true }) })
let count = 0
const folder = (): string => join(root, String(count++))

t.test('it survives a restart, with what was changed since', async (t) => {
  const path = folder()
  const before = new DiskStore({ path })
  await before.ready
  await put(before, entry('http://a.example/x', { vary: 'b, c', 'content-language': 'de', 'cache-tag': 'news' }, { b: '1' }), 'kept')
  const changed = (await put(before, entry('http://a.example/y'), 'changed'))!
  const gone = (await put(before, entry('http://a.example/z'), 'gone'))!
  changed.invalidated = true
  before.update(changed)
  before.delete(gone)
  await before.close()
  const after = new DiskStore({ path })
  t.teardown(() => after.close())
  await after.ready
  const [kept] = after.get('http://a.example/x')
  t.match(kept, { status: 200, vary: ['b', 'c'], varyValues: ['1', undefined], language: 'de', tags: ['news'], size: 4, lastModified: Number.NaN, lifetime: 60_000 })
  t.equal(await bodyOf(after, kept!), 'kept')
  t.equal(after.get('http://a.example/y')[0]!.invalidated, true)
  t.same(after.get('http://a.example/z'), [])
})

t.test('damaged, strange and left-over files are thrown away', async (t) => {
  const path = folder()
  const before = new DiskStore({ path })
  await before.ready
  for (const name of ['short', 'long', 'head', 'magic', 'good']) await put(before, entry(`http://a.example/${name}`), 'x'.repeat(1000))
  await before.close()
  const files = readdirSync(path).filter((name) => name.endsWith('.entry')).sort()
  t.equal(files.length, 5)
  const at = (part: string): string => join(path, files.find((name) => readFileSync(join(path, name), 'latin1').includes(`/${part}"`))!)
  truncateSync(at('short'), statSync(at('short')).size - 1)
  writeFileSync(at('long'), 'more', { flag: 'a' })
  const head = readFileSync(at('head'))
  head[60]! ^= 1
  writeFileSync(at('head'), head)
  const magic = readFileSync(at('magic'))
  magic[0] = 0
  writeFileSync(at('magic'), magic)
  writeFileSync(join(path, 'nonsense.entry'), '')
  writeFileSync(join(path, 'tmp', 'half'), 'left over')
  const failures: Error[] = []
  const after = new DiskStore({ path })
  after.onFailure = (error) => { failures.push(error) }
  await after.ready
  t.same([...after.entries()].map(({ url }) => url), ['http://a.example/good'])
  t.equal(readdirSync(path).filter((name) => name.endsWith('.entry')).length, 1)
  t.same(readdirSync(join(path, 'tmp')), [])
  t.same(failures, [])
  await after.close()
})

t.test('a file that goes or shrinks while it is used is a miss, told once, and dropped', async (t) => {
  const path = folder()
  const clock = new TestClock()
  let runs = 0
  const { app: instance } = await app(t, { clock, store: new DiskStore({ path }) }, (app) => {
    app.get('/:size', (request, reply) => {
      runs++
      return reply.header('cache-control', 'max-age=60').send('x'.repeat(Number((request.params as { size: string }).size)))
    })
  })
  for (const size of [1000, 200_000]) {
    const url = `/${size}`
    t.equal((await instance.inject(url)).body.length, size)
    await eventually(() => instance.cache.stats.stored === runs)
    const hit = await instance.inject(url)
    t.match(hit.headers['cache-status'], /hit/)
    t.equal(hit.body.length, size)
    for (const name of readdirSync(path)) if (name.endsWith('.entry')) rmSync(join(path, name))
    const before = runs
    const again = await instance.inject(url)
    t.equal(again.statusCode, 200)
    t.equal(again.body.length, size)
    t.equal(runs, before + 1)
    await eventually(() => instance.cache.stats.stored === runs)
    t.match((await instance.inject(url)).headers['cache-status'], /hit/, 'stored again')
  }
})

t.test('a body that is damaged on the disk: a short one is a miss, a long one breaks off before its end; both are dropped', async (t) => {
  const path = folder()
  let runs = 0
  const lines: string[] = []
  const { app: instance, url } = await app(t, { store: new DiskStore({ path }) }, (app) => {
    app.log.warn = ((_object: object, message: string) => { lines.push(message) }) as never
    app.get('/:size', (request, reply) => {
      runs++
      return reply.header('cache-control', 'max-age=60').send('x'.repeat(Number((request.params as { size: string }).size)))
    })
  })
  const damage = (): void => {
    const [name] = readdirSync(path).filter((name) => name.endsWith('.entry'))
    const file = join(path, name!)
    const bytes = readFileSync(file)
    bytes[bytes.length - 10]! ^= 1
    writeFileSync(file, bytes)
  }
  await (await fetch(`${url}/1000`)).text()
  await eventually(() => instance.cache.stats.stored === 1)
  damage()
  const short = await fetch(`${url}/1000`)
  t.equal(await short.text(), 'x'.repeat(1000))
  t.match(short.headers.get('cache-status'), /fwd=uri-miss/)
  await eventually(() => instance.cache.stats.stored === 2)
  t.equal(runs, 2)
  await instance.cache.purge({ all: true })
  await (await fetch(`${url}/200000`)).text()
  await eventually(() => instance.cache.stats.stored === 3)
  damage()
  const long = await fetch(`${url}/200000`)
  t.match(long.headers.get('cache-status'), /hit/)
  await t.rejects(long.text(), 'the client sees that it is not whole')
  const again = await fetch(`${url}/200000`)
  t.equal((await again.text()).length, 200_000)
  t.match(again.headers.get('cache-status'), /fwd=uri-miss/)
  t.equal(lines.filter((line) => line.includes('store fails')).length, 1, 'one warning')
})

const mountable = ((): string | false => {
  if (process.getuid?.() !== 0) return 'needs root, to mount a small file system'
  const probe = folder()
  mkdirSync(probe)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', probe]).status !== 0) return 'mount is not allowed here'
  spawnSync('umount', [probe])
  return false
})()

t.test('a disk that is full: responses pass, one warning, no half file; with room it stores again', { skip: mountable }, async (t) => {
  const path = folder()
  mkdirSync(path)
  t.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', path]).status, 0)
  t.teardown(() => { spawnSync('umount', ['-l', path]) })
  const lines: string[] = []
  const { app: instance, url } = await app(t, { store: new DiskStore({ path }) }, (app) => {
    app.log.warn = ((object: { err: NodeJS.ErrnoException }) => { lines.push(object.err.code!) }) as never
    app.get('/:name', (_request, reply) => reply.header('cache-control', 'max-age=60').send('x'.repeat(100_000)))
  })
  for (let i = 0; i < 12; i++) t.equal((await (await fetch(`${url}/${i}`)).text()).length, 100_000)
  await eventually(() => lines.length > 0)
  t.same(lines, ['ENOSPC'])
  // What was under way is stored by then, or given up.
  await eventually(() => readdirSync(join(path, 'tmp')).length === 0 && readdirSync(path).filter((name) => name.endsWith('.entry')).length === instance.cache.stats.entries)
  const { entries } = instance.cache.stats
  t.ok(entries > 0 && entries < 12)
  t.match((await fetch(`${url}/0`)).headers.get('cache-status'), /hit/, 'what fitted is used')
  t.equal(readdirSync(path).filter((name) => name.endsWith('.entry')).length, entries)
  await instance.cache.purge({ all: true })
  const before = instance.cache.stats.stored
  await (await fetch(`${url}/more`)).text()
  await eventually(() => instance.cache.stats.stored === before + 1)
  t.match((await fetch(`${url}/more`)).headers.get('cache-status'), /hit/)
})

t.test('a folder belongs to one store', async (t) => {
  const path = folder()
  const first = new DiskStore({ path })
  t.throws(() => new DiskStore({ path }), { code: 'HG_CACHE_STORE', message: /used by this process/ })
  await first.close()
  const second = new DiskStore({ path })
  await second.close()
  writeFileSync(join(path, 'lock'), '4194304 1')
  const third = new DiskStore({ path })
  await third.close()
  t.throws(() => new DiskStore({ path: '/dev/null/x' }), { code: 'HG_CACHE_STORE' })
})

t.test('a folder that takes no writes: responses pass, one warning, nothing is stored', async (t) => {
  const path = folder()
  const store = new DiskStore({ path })
  const lines: string[] = []
  const { app: instance } = await app(t, { store }, (app) => {
    app.log.warn = ((_object: object, message: string) => { lines.push(message) }) as never
    app.get('/:name', (_request, reply) => reply.header('cache-control', 'max-age=60').send('passes'))
  })
  await store.ready
  // Root may write anywhere, but not into a folder that is not there.
  rmSync(join(path, 'tmp'), { recursive: true })
  for (const url of ['/a', '/b', '/a']) t.equal((await instance.inject(url)).body, 'passes')
  await eventually(() => lines.length > 0)
  t.equal(instance.cache.stats.entries, 0)
  mkdirSync(join(path, 'tmp'))
  // And it works again when the cause is gone. The writes before may still have been under way: their end says nothing.
  let status = ''
  await eventually(() => {
    void instance.inject('/c').then(({ headers }) => { status = String(headers['cache-status']) })
    return status.includes('hit')
  })
  t.equal(lines.length, 1)
})

t.test('tiered: bodies in use are in memory, within the bound', async (t) => {
  const below = new DiskStore({ path: folder() })
  await below.ready
  const store = new TieredStore(below, { maxBytes: 10_000 })
  t.teardown(() => store.close())
  const first = (await put(store, entry('http://a.example/0'), 'x'.repeat(1000)))!
  t.equal(first.body?.length, 1000)
  for (let i = 1; i < 50; i++) await put(store, entry(`http://a.example/${i}`), 'x'.repeat(1000))
  t.ok(store.resident <= 10_000)
  t.equal(first.body, undefined)
  t.equal((await bodyOf(store, first))!.length, 1000)
  t.equal(first.body?.length, 1000, 'it comes back when it is read')
  store.delete(first)
  t.equal(first.body, undefined)
})

t.test('kill -9 under writes: what is found afterwards is whole, and what was confirmed is found', { timeout: 110_000 }, async (t) => {
  const path = folder()
  const writer = new URL('disk-writer.ts', import.meta.url)
  for (let round = 0; round < 3; round++) {
    const child: ChildProcess = spawn(process.execPath, ['--import=./tools/strip-types.mjs', '--conditions=@headgate/source', writer.pathname, path, String(round)], {
      stdio: ['ignore', 'pipe', 'inherit'], cwd: new URL('../../../../', import.meta.url)
    })
    let said = ''
    child.stdout!.on('data', (data: Buffer) => { said += data.toString() })
    // In the middle of some write, whichever.
    await new Promise<void>((resolve) => {
      child.stdout!.on('data', () => { if (said.split('\n').length > 40 + 25 * round) resolve() })
      child.on('exit', () => { resolve() })
    })
    const ended = new Promise((resolve) => { child.once('exit', resolve) })
    child.kill('SIGKILL')
    await ended
    const confirmed = said.split('\n').slice(0, -1)
    t.ok(confirmed.length > 30)
    const failures: Error[] = []
    const store = new DiskStore({ path })
    store.onFailure = (error) => { failures.push(error) }
    await store.ready
    const urls = new Set([...store.entries()].map(({ url }) => url))
    for (const url of confirmed) t.ok(urls.has(url), url)
    for (const one of store.entries()) {
      const body = (await bodyOf(store, one))!
      const letter = one.fields[one.fields.indexOf('x-letter') + 1]!
      if (body !== letter.repeat(one.size)) t.fail(`${one.url} is not what was stored`)
    }
    t.same(failures, [])
    t.same(readdirSync(join(path, 'tmp')), [])
    await store.close()
  }
})

t.test('processes that share a folder have one lock, which is their parent\'s; others are refused while it runs', async (t) => {
  const path = folder()
  const sharing = new Bus().join()
  const [a, b] = [new DiskStore({ path }, sharing), new DiskStore({ path }, sharing)]
  t.equal(readFileSync(join(path, 'lock'), 'utf8').split(' ')[0], String(process.ppid))
  await Promise.all([a.ready, b.ready])
  await a.close()
  t.throws(() => new DiskStore({ path }), { code: 'HG_CACHE_STORE', message: new RegExp(`is used by process ${process.ppid}:`) })
  await b.close()
  writeFileSync(join(path, 'lock'), '999999999 1')
  const c = new DiskStore({ path })
  await c.close()
})

t.test('what a killed process was writing goes; what another one writes stays', async (t) => {
  const path = folder()
  mkdirSync(join(path, 'tmp'), { recursive: true })
  writeFileSync(join(path, 'tmp', '999999999-a'), 'of one that is gone')
  writeFileSync(join(path, 'tmp', `${process.pid}-b`), 'of one that runs')
  const shared = new DiskStore({ path }, new Bus().join())
  t.same(readdirSync(join(path, 'tmp')), [`${process.pid}-b`])
  await shared.close()
  writeFileSync(join(path, 'lock'), '999999999 1')
  const alone = new DiskStore({ path })
  t.same(readdirSync(join(path, 'tmp')), [], 'who is alone knows that nobody writes')
  await alone.close()
})
