import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import t from 'tap'
import { find, skipWithout } from '../../../tools/system.mjs'
import { proxied } from './helpers.ts'

const run = promisify(execFile)
const BIG = Buffer.alloc(300_000, 'abcdefghijklmnopqrstuvwxyz')

t.test('curl: ranges, and a download that is resumed', { skip: skipWithout('curl') }, async (t) => {
  const { proxy, requests } = await proxied(t, {}, (_request, response) => { response.setHeader('cache-control', 'max-age=60').setHeader('etag', '"a"').end(BIG) })
  const folder = mkdtempSync(join(tmpdir(), 'headgate-curl-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const file = join(folder, 'big')
  const curl = (...args: string[]): Promise<{ stdout: string }> => run('curl', ['-sS', '--noproxy', '*', ...args, `${proxy}/big`], { encoding: 'latin1', maxBuffer: 1e7 })
  await curl('-o', file)
  t.ok(readFileSync(file).equals(BIG))
  t.equal((await curl('-r', '10-19')).stdout, BIG.subarray(10, 20).toString())
  t.equal((await curl('-r', '-5')).stdout, BIG.subarray(-5).toString())
  const { stdout } = await curl('-r', '0-1,5-6', '-i')
  t.match(stdout, /multipart\/byteranges/)
  await curl('-r', '0-99999', '-o', file)
  await curl('-C', '-', '-o', file)
  t.ok(readFileSync(file).equals(BIG), 'resumed from where it was')
  t.match((await curl('-i', '-H', 'If-None-Match: "a"')).stdout, /^HTTP\/1\.1 304/)
  t.equal(requests.length, 1)
})

t.test('Chromium: a page with its parts, another visitor, ranges', { skip: skipWithout('chromium'), timeout: 110_000 }, async (t) => {
  const { proxy, requests } = await proxied(t, {}, (request, response) => {
    const type = request.url!.endsWith('.css') ? 'text/css' : request.url!.endsWith('.js') ? 'text/javascript' : 'text/html'
    response.writeHead(request.url === '/favicon.ico' ? 404 : 200, { 'content-type': type, 'cache-control': 's-maxage=600, max-age=0', etag: '"a"' })
    if (type === 'text/css') response.end('body { color: rgb(1, 2, 3) }')
    else if (type === 'text/javascript') response.end('document.title = "ran"')
    else if (request.url === '/big') response.end(BIG)
    else response.end('<!doctype html><link rel=stylesheet href=/a.css><p>hello</p><script src=/a.js></script>')
  })
  const browser = await chromium.launch({ executablePath: find('chromium')!, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking'] })
  const page = await browser.newPage()
  page.setDefaultTimeout(100_000)
  const answers: { url: string; status: string }[] = []
  page.on('response', (response) => { answers.push({ url: response.url().slice(proxy.length), status: response.headers()['cache-status'] ?? '' }) })
  await page.goto(`${proxy}/`)
  t.equal(await page.title(), 'ran')
  t.equal(await page.evaluate('getComputedStyle(document.body).color'), 'rgb(1, 2, 3)')
  const asked = requests.filter(({ url }) => url !== '/favicon.ico').length
  t.equal(asked, 3)
  // A reload asks with max-age=0, which no stored response that is older may answer (RFC 9111 5.2.1.1); the next visitor does not.
  await page.reload()
  t.equal(await page.title(), 'ran')
  answers.length = 0
  const before = requests.length
  const other = await (await browser.newContext()).newPage()
  other.on('response', (response) => { answers.push({ url: response.url().slice(proxy.length), status: response.headers()['cache-status'] ?? '' }) })
  await other.goto(`${proxy}/`)
  t.equal(await other.title(), 'ran')
  for (const url of ['/', '/a.css', '/a.js']) t.match(answers.find((answer) => answer.url === url)?.status, /; hit/, url)
  t.equal(requests.slice(before).filter(({ url }) => url !== '/favicon.ico').length, 0, 'another visitor costs the origin nothing')
  const ranged = await other.evaluate(`(async () => {
    await (await fetch('/big', { cache: 'no-cache' })).text()
    const part = await fetch('/big', { headers: { range: 'bytes=26-28' } })
    return [part.status, await part.text(), part.headers.get('content-range')]
  })()`)
  // Before its servers: they would wait for its connections.
  await browser.close()
  t.same(ranged, [206, 'abc', 'bytes 26-28/300000'])
})
