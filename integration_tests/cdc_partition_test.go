package integration

import (
	"strings"
	"testing"
)

// partitions makes a partitioned table one of whose leaves has its columns in another order, and a third level.
const partitions = `
CREATE TABLE root (id int, region text, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE eu PARTITION OF root FOR VALUES IN ('eu');
CREATE TABLE us (v text, junk int, region text NOT NULL, id int NOT NULL);
ALTER TABLE us DROP junk, ADD PRIMARY KEY (region, id);
ALTER TABLE root ATTACH PARTITION us FOR VALUES IN ('us');
CREATE TABLE asia PARTITION OF root FOR VALUES IN ('jp', 'cn') PARTITION BY LIST (region);
CREATE TABLE jp PARTITION OF asia FOR VALUES IN ('jp');
INSERT INTO root VALUES (1, 'eu', 'a'), (2, 'us', 'b'), (3, 'jp', 'c');
`

// partitionChanges are changes of every partition, one of which is new.
const partitionChanges = `
INSERT INTO root VALUES (4, 'us', 'd'), (5, 'jp', 'e');
CREATE TABLE cn PARTITION OF asia FOR VALUES IN ('cn');
INSERT INTO root VALUES (6, 'cn', 'f');
UPDATE root SET v = 'g' WHERE id = 2;
UPDATE root SET region = 'us' WHERE id = 1;
UPDATE root SET id = 7 WHERE id = 3;
DELETE FROM root WHERE id = 4`

// The publication shows the changes of all partitions as those of the root.
func TestPartitionsUnderTheirRoot(t *testing.T) {
	t.Parallel()
	c := newCapture(t, partitions+`ALTER TABLE us ALTER v SET STORAGE EXTERNAL;
		INSERT INTO root VALUES (9, 'us', repeat('x', 4000));
		CREATE PUBLICATION pub FOR TABLE root WITH (publish_via_partition_root = true)`)
	r := c.first("root")
	if n := len(r.records("root")); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
	c.exec(partitionChanges)
	r = c.sync()
	expectList(t, r.changes("root"),
		`+ {"id":4,"region":"us","v":"d"}`, `+ {"id":5,"region":"jp","v":"e"}`, `+ {"id":6,"region":"cn","v":"f"}`,
		`+ {"id":2,"region":"us","v":"g"}`,
		`- {"id":1,"region":"eu"}`, `+ {"id":1,"region":"us","v":"a"}`,
		`- {"id":3,"region":"jp"}`, `+ {"id":7,"region":"jp","v":"c"}`,
		`- {"id":4,"region":"us"}`)
	c.again(r)
	// Values that are not in the log are looked up, however the leaf's identity differs from its root's.
	long := `"v":"` + strings.Repeat("x", 4000) + `"`
	c.exec("ALTER TABLE us REPLICA IDENTITY FULL; UPDATE root SET id = 10 WHERE id = 9")
	c.exec("ALTER TABLE us REPLICA IDENTITY DEFAULT; ALTER TABLE root REPLICA IDENTITY FULL")
	c.exec("UPDATE root SET id = 11 WHERE id = 10")
	c.exec("UPDATE root SET id = 12 WHERE id = 11; UPDATE us SET id = id WHERE id = 12")
	r = c.sync()
	expectList(t, r.changes("root")[:2], `- {"id":9,"region":"us",`+long+`}`, `+ {"id":10,"region":"us",`+long+`}`)
	last := r.changes("root")
	expectList(t, last[len(last)-3:], `- {"id":11,"region":"us"}`, `+ {"id":12,"region":"us",`+long+`}`,
		`+ {"id":12,"region":"us",`+long+`}`)
	// A leaf is no stream of its own here.
	c.catalog = discover(t, c.settings).configure("incremental", "root", "us")
	r = c.read(c.state)
	if e := r.failed("config_error"); !has([]string{e.Message}, "public.us", "ALTER PUBLICATION") {
		t.Errorf("error %s", e.Message)
	}
}

// The publication shows each leaf's changes as its own.
func TestPartitionsByLeaf(t *testing.T) {
	t.Parallel()
	c := newCapture(t, partitions+"CREATE PUBLICATION pub FOR TABLE root")
	r := c.first("eu", "us", "jp")
	expectList(t, r.changes("us"), `+ {"id":2,"region":"us","v":"b"}`)
	c.exec(partitionChanges)
	r = c.sync()
	expectList(t, r.changes("eu"), `- {"id":1,"region":"eu"}`)
	expectList(t, r.changes("us"), `+ {"id":4,"region":"us","v":"d"}`, `+ {"id":2,"region":"us","v":"g"}`,
		`+ {"id":1,"region":"us","v":"a"}`, `- {"id":4,"region":"us"}`)
	expectList(t, r.changes("jp"), `+ {"id":5,"region":"jp","v":"e"}`, `- {"id":3,"region":"jp"}`,
		`+ {"id":7,"region":"jp","v":"c"}`)
	c.again(r)
	// The root is no stream whose changes are told.
	c.catalog = discover(t, c.settings).configure("incremental", "root", "us")
	r = c.read(c.state)
	if e := r.failed("config_error"); !has([]string{e.Message}, "public.root", "publish_via_partition_root") {
		t.Errorf("error %s", e.Message)
	}
	// The leaf made since is a new stream.
	c.catalog = discover(t, c.settings).configure("incremental", "us", "cn")
	r = c.read(c.state).ok()
	expectList(t, r.changes("cn"), `+ {"id":6,"region":"cn","v":"f"}`)
	c.keep(r)
	expectList(t, c.changed("cn", "DELETE FROM root WHERE id = 6"), `- {"id":6,"region":"cn"}`)
}

// Tables that become partitions, and partitions that become tables again, while changes of them wait in the log.
func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	for via, want := range map[string][]string{
		"true":  {`+ {"id":10,"region":"us","v":"as leaf"}`, `+ {"id":11,"region":"fr","v":"as leaf"}`},
		"false": {`+ {"id":10,"region":"us","v":"as leaf"}`},
	} {
		t.Run("via root "+via, func(t *testing.T) {
			t.Parallel()
			c := newCapture(t, partitions+`CREATE TABLE fr (LIKE root INCLUDING ALL);
				CREATE PUBLICATION pub FOR TABLE root WITH (publish_via_partition_root = `+via+")")
			names := map[string][]string{"true": {"root"}, "false": {"us", "eu"}}[via]
			c.first(names...)
			if c.Version >= 150000 { // before, the server overlooks that a table of which it has read changes is a partition now
				c.exec("INSERT INTO fr VALUES (8, 'fr', 'alone')")
			}
			c.exec("INSERT INTO root VALUES (10, 'us', 'as leaf')")
			c.exec("ALTER TABLE root ATTACH PARTITION fr FOR VALUES IN ('fr')")
			c.exec("INSERT INTO root VALUES (11, 'fr', 'as leaf')")
			c.exec("ALTER TABLE asia DETACH PARTITION jp; INSERT INTO jp VALUES (12, 'jp', 'alone')")
			r := c.sync()
			expectList(t, r.changes(names[0]), want...)
			c.again(r)
			if via == "false" && c.Version >= 150000 {
				c.catalog = discover(t, c.settings).configure("incremental", "eu", "fr")
				r = c.read(c.state).ok()
				expectList(t, r.changes("fr"), `+ {"id":8,"region":"fr","v":"alone"}`, `+ {"id":11,"region":"fr","v":"as leaf"}`)
			}
		})
	}
}

// The setting may change while changes wait in the log.
func TestPartitionsChangeHands(t *testing.T) {
	t.Parallel()
	c := newCapture(t, partitions+`CREATE PUBLICATION pub FOR TABLE root WITH (publish_via_partition_root = true)`)
	c.first("root")
	c.exec("INSERT INTO root VALUES (20, 'us', 'as root')")
	c.exec("ALTER PUBLICATION pub SET (publish_via_partition_root = false)")
	c.exec("INSERT INTO root VALUES (21, 'us', 'as leaf'), (22, 'jp', 'as leaf')")
	c.exec("ALTER PUBLICATION pub SET (publish_via_partition_root = true)")
	c.exec("INSERT INTO root VALUES (23, 'us', 'as root')")
	r := c.sync()
	expectList(t, r.changes("root"), `+ {"id":20,"region":"us","v":"as root"}`, `+ {"id":21,"region":"us","v":"as leaf"}`,
		`+ {"id":22,"region":"jp","v":"as leaf"}`, `+ {"id":23,"region":"us","v":"as root"}`)
	c.again(r)
	c.exec("TRUNCATE root")
	if r = c.sync(); !has(r.logs("WARN"), "truncated", "public.root") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
}

// The server goes by the identity of each partition, which has nothing of its root's.
func TestIdentityOfPartitions(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE root (id int, v text) PARTITION BY LIST (id);
CREATE TABLE one PARTITION OF root FOR VALUES IN (1); CREATE TABLE "T 2" PARTITION OF root FOR VALUES IN (2);
CREATE PUBLICATION pub FOR TABLE root WITH (publish_via_partition_root = true);
INSERT INTO root VALUES (1, 'a'), (2, 'b');
CREATE TABLE keyed (id int, area int, code int NOT NULL, PRIMARY KEY (area, id), UNIQUE (area, code))
  PARTITION BY LIST (area);
CREATE TABLE by_root PARTITION OF keyed FOR VALUES IN (1); CREATE TABLE by_code PARTITION OF keyed FOR VALUES IN (2);
ALTER TABLE by_code REPLICA IDENTITY USING INDEX by_code_area_code_key;
ALTER PUBLICATION pub ADD TABLE keyed; INSERT INTO keyed VALUES (1, 1, 11), (2, 2, 12)`)
	if w := run(t, "check", input{config: c.settings}).ok().logs("WARN"); !has(w, "without a replica identity", `"T 2"`) {
		t.Errorf("warnings of check: %q", w)
	}
	first := c.first("root", "keyed")
	if w := first.logs("WARN"); !has(w, "public.by_code REPLICA") || has(w, "public.by_root REPLICA") {
		t.Errorf("warnings: %q", w)
	}
	// What the log says of a row that is gone has the stream's key.
	expectList(t, c.changed("keyed", "DELETE FROM keyed"), `- {"area":1,"id":1}`, `- {"area":2,"code":12,"id":2}`)
	expectList(t, c.changed("root", "UPDATE root SET v = 'c' WHERE id = 1; DELETE FROM root WHERE id = 2"),
		`+ {"id":1,"v":"c"}`, `- {"id":2,"v":"b"}`)
	// A new one is seen to where the user owns it; else it is as it was before the connector came.
	c.exec("CREATE TABLE three PARTITION OF root FOR VALUES IN (3); INSERT INTO root VALUES (3, 'c')")
	c.settings["replication_method"].(map[string]any)["manage_replica_identity"] = false
	r := c.sync()
	expectList(t, r.changes("root"), `+ {"id":3,"v":"c"}`)
	const sql = "ALTER TABLE public.three REPLICA IDENTITY FULL;"
	if w := r.logs("WARN"); !has(w, "partitions have no replica identity", sql) || has(w, "one") {
		t.Errorf("warnings: %q", w)
	}
	c.settings["replication_method"].(map[string]any)["manage_replica_identity"] = true
	if w := c.sync().logs("WARN"); !has(w, "was given a replica identity", sql) {
		t.Errorf("warnings: %q", w)
	}
	expectList(t, c.changed("root", "DELETE FROM root WHERE id = 3"), `- {"id":3,"v":"c"}`)
}
