import fc from 'fast-check'
import t from 'tap'
import { Negotiator } from '../src/negotiate.ts'

const ours = ['zstd', 'br', 'gzip', 'deflate']
const negotiator = new Negotiator(ours, ours)

// [field, codings best first, identity acceptable, identity preferred, what the upstream is told]
const table: [string | undefined, string[], boolean, boolean, string | undefined][] = [
  // The examples of RFC 9110 12.5.3.
  ['compress, gzip', ['gzip'], true, false, 'gzip'],
  ['', [], true, true, 'identity'],
  ['*', ours, true, false, 'zstd, br, gzip, deflate'],
  ['compress;q=0.5, gzip;q=1.0', ['gzip'], true, false, 'gzip'],
  ['gzip;q=1.0, identity; q=0.5, *;q=0', ['gzip'], true, false, 'gzip'],
  // No field: anything is acceptable, but only those who ask get a coding.
  [undefined, [], true, true, undefined],
  // What clients send.
  ['gzip, deflate, br, zstd', ours, true, false, 'zstd, br, gzip, deflate'],
  ['gzip, deflate', ['gzip', 'deflate'], true, false, 'gzip, deflate'],
  ['deflate, gzip;q=1.0, *;q=0.5', ['gzip', 'deflate', 'zstd', 'br'], true, false, 'zstd;q=0.5, br;q=0.5, gzip, deflate'],
  ['br;q=1.0, gzip;q=0.8, *;q=0.1', ['br', 'gzip', 'zstd', 'deflate'], true, false, 'zstd;q=0.1, br, gzip;q=0.8, deflate;q=0.1'],
  ['gzip;q=0.2,br;q=0.2', ['br', 'gzip'], true, false, 'br;q=0.2, gzip;q=0.2'],
  // Identity.
  ['identity', [], true, true, 'identity'],
  ['identity, gzip;q=0.5', ['gzip'], true, true, 'gzip;q=0.5, identity'],
  ['identity, gzip', ['gzip'], true, false, 'gzip'],
  ['identity;q=0', [], false, false, 'identity'],
  ['gzip, identity;q=0', ['gzip'], false, false, 'gzip, identity;q=0'],
  ['*;q=0', [], false, false, 'identity'],
  ['*;q=0, identity', [], true, true, 'identity'],
  ['gzip, *;q=0', ['gzip'], false, false, 'gzip, identity;q=0'],
  ['identity;q=0, *', ours, false, false, 'zstd, br, gzip, deflate, identity;q=0'],
  ['snappy', [], true, true, 'identity'],
  // Spelling: case, blanks, empty members, the old names, several fields joined.
  ['GZIP', ['gzip'], true, false, 'gzip'],
  ['gzip;Q=0.5', ['gzip'], true, false, 'gzip;q=0.5'],
  [' ,gzip ,, br\t', ['br', 'gzip'], true, false, 'br, gzip'],
  ['gzip \t;\t q=0.001', ['gzip'], true, false, 'gzip;q=0.001'],
  ['x-gzip', ['gzip'], true, false, 'gzip'],
  ['gzip;q=0', [], true, true, 'identity'],
  ['gzip;q=0.000, br', ['br'], true, false, 'br'],
  ['gzip;q=0, gzip', [], true, true, 'identity'],
  ['gzip;q=1.000', ['gzip'], true, false, 'gzip'],
  ['gzip;q=0., br', ['br'], true, false, 'br'],
  // Malformed members are passed over, and identity is never refused then.
  ['gzip;q=1.001', [], true, true, 'identity'],
  ['gzip;q=0.1234, br', ['br'], true, false, 'br'],
  ['gzip;q=abc', [], true, true, 'identity'],
  ['gzip;level=9', [], true, true, 'identity'],
  ['gzip;q=-1', [], true, true, 'identity'],
  ['gz ip, br', ['br'], true, false, 'br'],
  ['identity;q=0, (', [], true, true, 'identity'],
  [';q=1', [], true, true, 'identity'],
  ['gzip,'.repeat(2000), [], true, true, 'identity']
]

t.test('the table', async (t) => {
  for (const [field, encodings, identity, prefersIdentity, normalised] of table) {
    for (const time of ['first', 'memoised']) {
      const accepted = negotiator.accept(field)
      const name = `${JSON.stringify(field?.slice(0, 60))} ${time}`
      t.same(accepted.encodings, encodings, name)
      t.equal(accepted.identity, identity, `${name}: identity`)
      t.equal(accepted.prefersIdentity, prefersIdentity, `${name}: preferred`)
      t.equal(accepted.normalised, normalised, `${name}: upstream`)
    }
  }
})

t.test('the order among equals is the server\'s, and what is not offered is not chosen', async (t) => {
  const some = new Negotiator(['gzip', 'br'], ours)
  t.same(some.accept('br, gzip, zstd').encodings, ['gzip', 'br'])
  t.same(some.accept('br, gzip;q=0.9').encodings, ['br', 'gzip'])
  t.equal(some.accept('zstd').normalised, 'zstd', 'an upstream may send what we only decode')
  t.equal(some.accept('zstd, gzip;q=0').weight('zstd'), 1)
})

t.test('weights decide for any well-formed field', async (t) => {
  const weight = fc.integer({ min: 0, max: 1000 })
  fc.assert(fc.property(fc.dictionary(fc.constantFrom(...ours, 'identity', '*', 'compress'), weight), (wanted) => {
    const field = Object.entries(wanted).map(([name, q]) => `${name};q=${q === 1000 ? '1' : (q / 1000).toFixed(3)}`).join(' , ')
    const accepted = negotiator.accept(field)
    const of = (name: string): number => wanted[name] ?? wanted['*'] ?? 0
    t.same([...accepted.encodings].sort(), ours.filter((name) => of(name) > 0).sort())
    for (let i = 1; i < accepted.encodings.length; i++) {
      const [a, b] = [accepted.encodings[i - 1]!, accepted.encodings[i]!]
      t.ok(of(a) > of(b) || (of(a) === of(b) && ours.indexOf(a) < ours.indexOf(b)))
    }
    t.equal(accepted.identity, (wanted['identity'] ?? wanted['*']) !== 0)
    // Told to ourselves, the normalised field means the same.
    const again = negotiator.accept(accepted.normalised)
    t.same(again.encodings, accepted.encodings)
    if (accepted.encodings.length > 0) t.equal(again.identity, accepted.identity)
  }), { numRuns: 200 })
})

t.test('no field whatever makes it throw, or choose what is not there', async (t) => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (field) => {
    t.ok(negotiator.accept(field).encodings.every((name) => ours.includes(name)))
  }), { numRuns: 300 })
})
