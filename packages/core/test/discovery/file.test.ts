import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { pool, type Test, until } from './helpers.ts'

function folder (t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'hg-discovery-'))
  t.teardown(() => { rmSync(path, { recursive: true, force: true }) })
  return path
}

/** As programs should write a file that others read. */
function replace (path: string, content: unknown): void {
  writeFileSync(`${path}.new`, typeof content === 'string' ? content : JSON.stringify(content))
  renameSync(`${path}.new`, path)
}

t.test('a JSON file: replaced, wrong, gone, and there again', async (t) => {
  const path = join(folder(t), 'upstreams.json')
  const { pool: web, next, urls } = pool(t, { discovery: { type: 'file', path, interval: 50 } })
  await web.discover()
  t.match(await next(), { result: 'failed', kind: 'file', error: /upstreams\.json: ENOENT/ })
  replace(path, ['http://a:1;weight=2', { url: 'http://b:1', zone: 'z', draining: false }])
  t.match(await next(), { result: 'changed', added: 2 })
  const a = web.at('http://a:1')!
  t.equal(a.configuredWeight, 2)
  replace(path, ['http://a:1;weight=3', { url: 'http://b:1', zone: 'z', draining: true }, 'http://c:1'])
  t.match(await next(), { result: 'changed', added: 1, changed: 1, removed: 0 })
  t.equal(web.at('http://a:1'), a)
  t.equal(a.configuredWeight, 3)
  t.same([web.at('http://b:1')!.health.state, web.at('http://b:1')!.health.reason], ['draining', 'its source says that it is about to go'])
  const wrong: [unknown, RegExp][] = [
    ['["http://a:1', /upstreams\.json: .*JSON/], ['{}', /must be a list of upstreams, or an object with 'upstreams'/], ['[7]', /\[0\] must be an address or an object with a url/],
    [['http://a:1', 'ftp://b'], /discovery of pool 'p'\[1\]: must be an origin.*got 'ftp:\/\/b'/],
    [['http://a:1', 'http://a:1;weight=2'], /discovery of pool 'p'\[1\]: 'http:\/\/a:1' is already in the pool/],
    [[{ url: 'http://a:1', waight: 1 }], /discovery of pool 'p'\[0\]\.waight: unknown option/], [[{ app: { inject: 1 }, id: 'x' }], /\[0\] must be an address/]
  ]
  for (const [content, message] of wrong) {
    replace(path, content)
    t.match(await next(), { result: 'failed', error: message })
    t.same(urls(), ['http://a:1', 'http://c:1'])
  }
  unlinkSync(path)
  t.match(await next(), { result: 'failed', error: /ENOENT/ }, 'told once')
  replace(path, { upstreams: ['http://c:1', { url: 'http://b:1', zone: 'z', draining: false }] })
  t.match(await next(), { result: 'changed', removed: 1 })
  t.same(urls(), ['http://b:1', 'http://c:1'])
  t.equal(web.at('http://b:1')!.health.state, 'up', 'it stays after all')
  replace(path, [])
  t.match(await next(), { result: 'changed', removed: 2, members: 0 }, 'an empty list is a list')
  t.equal(web.upstreams.length, 0)
})

t.test('a file that is there again as it was has no error any more; one in a folder that comes later is seen', async (t) => {
  const home = folder(t)
  const path = join(home, 'later', 'upstreams.json')
  const { pool: web, next, urls } = pool(t, { discovery: { type: 'file', path, interval: 20 } })
  await web.discover()
  t.match(await next(), { result: 'failed', error: /ENOENT/ })
  mkdirSync(join(home, 'later'))
  replace(path, ['http://a:1'])
  t.match(await next(), { result: 'changed', added: 1 })
  renameSync(path, `${path}.away`)
  t.match(await next(), { result: 'failed', error: /ENOENT/ })
  t.match(web.discovery, { error: /ENOENT/ })
  renameSync(`${path}.away`, path)
  await until(() => web.discovery!.error === '')
  t.same(urls(), ['http://a:1'])
})

t.test('a YAML file in a folder that is swapped by a link, as Kubernetes mounts config maps', async (t) => {
  const home = folder(t)
  const version = (name: string, text: string): void => {
    mkdirSync(join(home, name))
    writeFileSync(join(home, name, 'web.yaml'), text)
    symlinkSync(name, join(home, 'data.new'))
    renameSync(join(home, 'data.new'), join(home, 'data'))
  }
  version('one', 'upstreams:\n  - http://a:1\n')
  symlinkSync('data/web.yaml', join(home, 'web.yaml'))
  const { pool: web, next, urls } = pool(t, { upstreams: ['http://fixed:1;backup'], discovery: { type: 'file', path: join(home, 'web.yaml'), interval: 3_600_000 } })
  await web.discover()
  await next()
  t.same(urls(), ['http://a:1'])
  version('two', '- http://b:1\n- url: http://c:1\n  priority: 1\n')
  t.match(await next(), { result: 'changed', added: 2, removed: 1 })
  t.same(urls(), ['http://b:1'])
  t.same(web.upstreams.map(({ url }) => url), ['http://fixed:1', 'http://b:1', 'http://c:1'], 'members that are configured stay')
})
