-- A ledger as schema 1 kept it: small, and with something of everything. Never changed.
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);
INSERT INTO "_sqlx_migrations" VALUES(1,'ledger','2026-10-01 00:00:00',1,X'5415FFD32C22019E928F0DD76D88CEBAA4EAC569C5106DAE8589A186C1CBCCA33043DD37099D1AB60B8ED4C55454B939',1);
CREATE TABLE attempt (
    call_id      TEXT    NOT NULL REFERENCES entry (call_id),
    number       INTEGER NOT NULL,
    upstream     TEXT    NOT NULL,
    opened_at    INTEGER NOT NULL,
    status       INTEGER,
    request_id   TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    maybe_billed INTEGER NOT NULL CHECK (maybe_billed IN (0, 1)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempt" VALUES('01K8BSF3W00000000000000001',1,'anthropic',1761332400000,200,'req_0','',0);
INSERT INTO "attempt" VALUES('01K8C3TJAB0000000000000002',1,'anthropic',1761343261003,200,'req_1','',0);
INSERT INTO "attempt" VALUES('01K8CE60RP0000000000000003',1,'anthropic',1761354122006,200,'req_2','',0);
INSERT INTO "attempt" VALUES('01K8CRHF710000000000000004',1,'anthropic',1761364983009,200,'req_3','',0);
INSERT INTO "attempt" VALUES('01K8D2WXNC0000000000000005',1,'anthropic',1761375844012,200,'req_4','',0);
INSERT INTO "attempt" VALUES('01K8DD8C3Q0000000000000006',1,'anthropic',1761386705015,200,'req_5','',0);
INSERT INTO "attempt" VALUES('01K8E1Z90D0000000000000008',1,'anthropic',1761408427021,200,'req_7','',0);
INSERT INTO "attempt" VALUES('01K8ECAQER0000000000000009',1,'anthropic',1761419288024,529,'','overloaded',0);
INSERT INTO "attempt" VALUES('01K8ECAQER0000000000000009',2,'anthropic',1761419288034,200,'req_8','',0);
INSERT INTO "attempt" VALUES('01K8EPP5X3000000000000000A',1,'anthropic',1761430149027,200,'req_9','',0);
INSERT INTO "attempt" VALUES('01K8F11MBE000000000000000B',1,'anthropic',1761441010030,200,'req_10','',0);
INSERT INTO "attempt" VALUES('01K8FBD2SS000000000000000C',1,'anthropic',1761451871033,200,'req_11','',0);
INSERT INTO "attempt" VALUES('01K8FNRH84000000000000000D',1,'anthropic',1761462732036,200,'req_12','',0);
INSERT INTO "attempt" VALUES('01K8G03ZPF000000000000000E',1,'anthropic',1761473593039,200,'req_13','',0);
INSERT INTO "attempt" VALUES('01K8GAFE4T000000000000000F',1,'anthropic',1761484454042,200,'req_14','',0);
INSERT INTO "attempt" VALUES('01K8GMTWK5000000000000000G',1,'anthropic',1761495315045,200,'req_15','',0);
INSERT INTO "attempt" VALUES('01K8GZ6B1G000000000000000H',1,'anthropic',1761506176048,200,'req_16','',0);
INSERT INTO "attempt" VALUES('01K8H9HSFV000000000000000J',1,'anthropic',1761517037051,200,'req_17','',0);
INSERT INTO "attempt" VALUES('01K8HKX7Y6000000000000000K',1,'anthropic',1761527898054,200,'req_18','',0);
INSERT INTO "attempt" VALUES('01K8HY8PCH000000000000000M',1,'anthropic',1761538759057,200,'req_19','',0);
CREATE TABLE entry (
    seq                   INTEGER PRIMARY KEY,
    call_id               TEXT    NOT NULL UNIQUE,
    started_at            INTEGER NOT NULL,
    ended_at              INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    tenant                TEXT    NOT NULL,
    session               TEXT    NOT NULL,
    agent                 TEXT    NOT NULL,
    tags                  TEXT    NOT NULL CHECK (json_valid(tags)),
    class                 TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    max_tokens            INTEGER,
    stream                INTEGER NOT NULL CHECK (stream IN (0, 1)),
    body_bytes            INTEGER NOT NULL,
    upstream              TEXT    NOT NULL,
    request_id            TEXT    NOT NULL,
    attempts              INTEGER NOT NULL,
    status                INTEGER NOT NULL,
    outcome               TEXT    NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    batch                 INTEGER NOT NULL CHECK (batch IN (0, 1)),
    fast                  INTEGER NOT NULL CHECK (fast IN (0, 1)),
    us_only               INTEGER NOT NULL CHECK (us_only IN (0, 1)),
    cost_nanos            INTEGER,
    price_id              TEXT    NOT NULL,
    estimated             INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    source                TEXT    NOT NULL,
    waited_ms             INTEGER NOT NULL,
    first_byte_ms         INTEGER,
    total_ms              INTEGER NOT NULL,
    cache                 TEXT    NOT NULL,
    error                 TEXT    NOT NULL,
    chain                 BLOB    NOT NULL
) STRICT;
INSERT INTO "entry" VALUES(1,'01K8BSF3W00000000000000001',1761332400000,1761332401500,'ci','','','','s-0','','{"team":"blue"}','normal','claude-sonnet-4-5',NULL,1,300,'anthropic','req_0',1,200,'completed',100,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'85DCC336A4AFC0B4F48AC4811ABED000370EE43C9EFC2AD067A2532F59ACC276');
INSERT INTO "entry" VALUES(2,'01K8C3TJAB0000000000000002',1761343261003,1761343262503,'web','ada','shop','acme','s-0','','{}','normal','claude-haiku-4-5',1000,1,301,'anthropic','req_1',1,200,'completed',101,1,0,10,21,1,0,0,0,330001,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'5A5C037F6543387CC61581C07C45A24AF3C64921AA56CC188BE84DDFFF9D885D');
INSERT INTO "entry" VALUES(3,'01K8CE60RP0000000000000003',1761354122006,1761354123506,'büro','','tide','','s-0','','{}','normal','claude-sonnet-4-5',NULL,1,302,'anthropic','req_2',1,200,'completed',102,2,0,20,22,0,0,0,0,330002,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'BD8588E77F20AB2D553840D541DB2EE7701E6710CD0AFEFEE4B3DFB3313351B6');
INSERT INTO "entry" VALUES(4,'01K8CRHF710000000000000004',1761364983009,1761364984509,'ci','ada','','','s-1','','{}','normal','claude-haiku-4-5',1000,1,303,'anthropic','req_3',1,200,'completed',103,3,0,30,23,1,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'25DBDFE609AD0BD42FFE8C90EBED865F5B1CA91C1B06424058C4B27221BE6942');
INSERT INTO "entry" VALUES(5,'01K8D2WXNC0000000000000005',1761375844012,1761375845512,'web','','shop','','s-1','','{}','normal','claude-sonnet-4-5',NULL,1,304,'anthropic','req_4',1,200,'completed',104,4,0,40,24,0,0,0,0,330004,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'FD4192FEF476182008DBE034357CCF142621AA898216D2918AE4E7067DCDB060');
INSERT INTO "entry" VALUES(6,'01K8DD8C3Q0000000000000006',1761386705015,1761386706515,'büro','ada','tide','acme','s-1','','{"team":"blue"}','normal','claude-haiku-4-5',1000,1,305,'anthropic','req_5',1,200,'completed',105,5,0,50,25,1,0,0,0,330005,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'ECBCEFE721F8C928C64EF6878A3C10319E6AAC55B7BE8C5B96F378512CCB26DB');
INSERT INTO "entry" VALUES(7,'01K8DQKTJ20000000000000007',1761397566018,1761397567518,'ci','','','','s-2','','{}','normal','claude-sonnet-4-5',NULL,1,306,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,NULL,'',0,'gateway',3,NULL,1500,'off','',X'37C10E133C96C94B9E20BD30A7944D2B52CB1C5A169EC711A00C1F780A37FD0D');
INSERT INTO "entry" VALUES(8,'01K8E1Z90D0000000000000008',1761408427021,1761408428521,'web','ada','shop','','s-2','','{}','normal','claude-haiku-4-5',1000,1,307,'anthropic','req_7',1,200,'completed',107,7,0,70,27,1,0,0,0,330007,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'D6386462DE679D3F4605F5A100969906D3FD8A13CF2522041E933BAC2AA3CB38');
INSERT INTO "entry" VALUES(9,'01K8ECAQER0000000000000009',1761419288024,1761419289524,'büro','','tide','','s-2','','{}','normal','claude-sonnet-4-5',NULL,1,308,'anthropic','req_8',2,200,'completed',108,8,0,80,28,0,0,0,0,330008,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'9ADA0AD695E9720544B783D945DB718897629EB9E88CBCBA1F10912B799594A2');
INSERT INTO "entry" VALUES(10,'01K8EPP5X3000000000000000A',1761430149027,1761430150527,'ci','ada','','acme','s-3','','{}','normal','claude-haiku-4-5',1000,1,309,'anthropic','req_9',1,200,'completed',109,9,0,90,29,1,0,0,0,330009,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'57AA64702F835118B256D9BFB847B2EC6C31A9DF869D200E8BAFA038B12E8C5B');
INSERT INTO "entry" VALUES(11,'01K8F11MBE000000000000000B',1761441010030,1761441011530,'web','','shop','','s-3','','{"team":"blue"}','normal','claude-sonnet-4-5',NULL,1,310,'anthropic','req_10',1,200,'completed',110,10,0,100,30,0,0,0,0,NULL,'',0,'gateway',3,NULL,1500,'off','',X'8140885219C47E103207EC079F11F9A0F181049892D29FE20D4AB960232429C4');
INSERT INTO "entry" VALUES(12,'01K8FBD2SS000000000000000C',1761451871033,1761451872533,'büro','ada','tide','','s-3','','{}','normal','claude-haiku-4-5',1000,1,311,'anthropic','req_11',1,0,'cancelled',111,11,0,110,31,1,0,0,0,330011,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','',X'F1641D5321396CBF5E7910E5EDEEC31F569C9970C9C31DA096AF40957F7EE615');
INSERT INTO "entry" VALUES(13,'01K8FNRH84000000000000000D',1761462732036,1761462733536,'ci','','','','s-4','','{}','normal','claude-sonnet-4-5',NULL,1,312,'anthropic','req_12',1,200,'completed',112,12,0,120,32,0,0,0,0,330012,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'2C2B86328EAF243F25D6D178EF7A381399D377F72153C9FF31EFD33A04BA0909');
INSERT INTO "entry" VALUES(14,'01K8G03ZPF000000000000000E',1761473593039,1761473594539,'web','ada','shop','acme','s-4','','{}','normal','claude-haiku-4-5',1000,1,313,'anthropic','req_13',1,200,'completed',113,13,0,130,33,1,0,0,0,330013,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'3240E028AEBC386BE12499983EE56BF02E516DB7B9B29D7BFB8E5AB5F1B39C79');
INSERT INTO "entry" VALUES(15,'01K8GAFE4T000000000000000F',1761484454042,1761484455542,'büro','','tide','','s-4','','{}','normal','claude-sonnet-4-5',NULL,1,314,'anthropic','req_14',1,200,'completed',114,14,0,140,34,0,0,0,0,330014,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'7F85CF7F7D3416165E726D1F07931C2337336045E9AA2656E8A9F390CF2072AD');
INSERT INTO "entry" VALUES(16,'01K8GMTWK5000000000000000G',1761495315045,1761495316545,'ci','ada','','','s-5','','{"team":"blue"}','normal','claude-haiku-4-5',1000,1,315,'anthropic','req_15',1,200,'completed',115,15,0,150,35,1,0,0,0,330015,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'B392F963BF91A8397E8F8B2456907AD0A322E7306F92BC5050E65EFA332834D6');
INSERT INTO "entry" VALUES(17,'01K8GZ6B1G000000000000000H',1761506176048,1761506177548,'web','','shop','','s-5','','{}','normal','claude-sonnet-4-5',NULL,1,316,'anthropic','req_16',1,200,'completed',116,16,0,160,36,0,0,0,0,330016,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'077D0C554574F6D5AF506EA96BBE36B73A5C1916B99FA420879460C72D1415BE');
INSERT INTO "entry" VALUES(18,'01K8H9HSFV000000000000000J',1761517037051,1761517038551,'büro','ada','tide','acme','s-5','','{}','normal','claude-haiku-4-5',1000,1,317,'anthropic','req_17',1,200,'completed',117,17,0,170,37,1,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'A06484B319FE501E7FD0ED5BA2F6B5048A66BC621AA004396060B533695BFBAA');
INSERT INTO "entry" VALUES(19,'01K8HKX7Y6000000000000000K',1761527898054,1761527899554,'ci','','','','s-6','','{}','normal','claude-sonnet-4-5',NULL,1,318,'anthropic','req_18',1,200,'completed',118,18,0,180,38,0,0,0,0,330018,'claude-sonnet-4-5',0,'gateway',3,NULL,1500,'off','',X'3EBB5DB47373191C6C5AB081C13561B471C6381E6D095A8CE1948F32C0FCEDED');
INSERT INTO "entry" VALUES(20,'01K8HY8PCH000000000000000M',1761538759057,1761538760557,'web','ada','shop','','s-6','','{}','normal','claude-haiku-4-5',1000,1,319,'anthropic','req_19',1,200,'completed',119,19,0,190,39,1,0,0,0,330019,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'CE7E62E0662AB2C6203148C9BC3DCD9BEAAA8902CDAB281AA5BF3BE2D58EB502');
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    folded_seq   INTEGER NOT NULL,
    chain        BLOB    NOT NULL
) STRICT;
INSERT INTO "meta" VALUES(1,0,X'CE7E62E0662AB2C6203148C9BC3DCD9BEAAA8902CDAB281AA5BF3BE2D58EB502');
CREATE TABLE open_attempt (
    call_id TEXT    NOT NULL REFERENCES open_call (call_id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    opening TEXT    NOT NULL CHECK (json_valid(opening)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE open_call (
    call_id TEXT NOT NULL PRIMARY KEY,
    call    TEXT NOT NULL CHECK (json_valid(call)),
    usage   TEXT CHECK (json_valid(usage)),
    used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup (
    quarter               INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    upstream              TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    source                TEXT    NOT NULL,
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    PRIMARY KEY (quarter, client, person, project, upstream, model, source)
) STRICT, WITHOUT ROWID;
INSERT INTO "rollup" VALUES(1957036,'ci','','','anthropic','claude-sonnet-4-5','gateway',1,100,0,0,0,20,330000,0);
INSERT INTO "rollup" VALUES(1957048,'web','ada','shop','anthropic','claude-haiku-4-5','gateway',1,101,1,0,10,21,330001,0);
INSERT INTO "rollup" VALUES(1957060,'büro','','tide','anthropic','claude-sonnet-4-5','gateway',1,102,2,0,20,22,330002,0);
INSERT INTO "rollup" VALUES(1957072,'ci','ada','','anthropic','claude-haiku-4-5','gateway',1,103,3,0,30,23,0,1);
INSERT INTO "rollup" VALUES(1957084,'web','','shop','anthropic','claude-sonnet-4-5','gateway',1,104,4,0,40,24,330004,0);
INSERT INTO "rollup" VALUES(1957096,'büro','ada','tide','anthropic','claude-haiku-4-5','gateway',1,105,5,0,50,25,330005,0);
INSERT INTO "rollup" VALUES(1957120,'web','ada','shop','anthropic','claude-haiku-4-5','gateway',1,107,7,0,70,27,330007,0);
INSERT INTO "rollup" VALUES(1957132,'büro','','tide','anthropic','claude-sonnet-4-5','gateway',1,108,8,0,80,28,330008,0);
INSERT INTO "rollup" VALUES(1957144,'ci','ada','','anthropic','claude-haiku-4-5','gateway',1,109,9,0,90,29,330009,0);
INSERT INTO "rollup" VALUES(1957156,'web','','shop','anthropic','claude-sonnet-4-5','gateway',1,110,10,0,100,30,0,1);
INSERT INTO "rollup" VALUES(1957168,'büro','ada','tide','anthropic','claude-haiku-4-5','gateway',1,111,11,0,110,31,330011,0);
INSERT INTO "rollup" VALUES(1957180,'ci','','','anthropic','claude-sonnet-4-5','gateway',1,112,12,0,120,32,330012,0);
INSERT INTO "rollup" VALUES(1957192,'web','ada','shop','anthropic','claude-haiku-4-5','gateway',1,113,13,0,130,33,330013,0);
INSERT INTO "rollup" VALUES(1957204,'büro','','tide','anthropic','claude-sonnet-4-5','gateway',1,114,14,0,140,34,330014,0);
INSERT INTO "rollup" VALUES(1957217,'ci','ada','','anthropic','claude-haiku-4-5','gateway',1,115,15,0,150,35,330015,0);
INSERT INTO "rollup" VALUES(1957229,'web','','shop','anthropic','claude-sonnet-4-5','gateway',1,116,16,0,160,36,330016,0);
INSERT INTO "rollup" VALUES(1957241,'büro','ada','tide','anthropic','claude-haiku-4-5','gateway',1,117,17,0,170,37,0,1);
INSERT INTO "rollup" VALUES(1957253,'ci','','','anthropic','claude-sonnet-4-5','gateway',1,118,18,0,180,38,330018,0);
INSERT INTO "rollup" VALUES(1957265,'web','ada','shop','anthropic','claude-haiku-4-5','gateway',1,119,19,0,190,39,330019,0);
CREATE INDEX entry_by_time ON entry (started_at, seq);
COMMIT;
