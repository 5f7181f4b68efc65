BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE coordinators (
	owner VARCHAR(80) NOT NULL, 
	study VARCHAR(80) NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	begun DOUBLE NOT NULL, 
	program VARCHAR(40) NOT NULL, 
	data VARCHAR(32) NOT NULL, 
	memory BIGINT, 
	PRIMARY KEY (owner)
);
INSERT INTO "coordinators" VALUES('elsewhere:1:2:3','moons-1a2b3c',1764000080.0,1764000020.0,'0.1.0','dddddddddddddddddddddddddddddddd',NULL);
CREATE TABLE offers (
	owner VARCHAR(80) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	trial TEXT NOT NULL, 
	method VARCHAR(200) NOT NULL, 
	place BIGINT NOT NULL, 
	longest DOUBLE, 
	too_small BIGINT DEFAULT '0' NOT NULL, 
	failure TEXT, 
	PRIMARY KEY (owner, "key")
);
INSERT INTO "offers" VALUES('elsewhere:1:2:3','0a','{}','learn/lda@1',0,NULL,0,NULL);
CREATE TABLE smidgen_store (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "smidgen_store" VALUES(2);
CREATE TABLE studies (
	id VARCHAR(80) NOT NULL, 
	digest VARCHAR(32) NOT NULL, 
	created DOUBLE NOT NULL, 
	updated DOUBLE NOT NULL, 
	task_name TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	options TEXT NOT NULL, 
	asked TEXT NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	owner VARCHAR(80), 
	summary TEXT, 
	trials TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (digest)
);
INSERT INTO "studies" VALUES('iris-f0ae84','f0ae843a859938fcf99794773fd832dd',1764000002.0,1764000010.0,'iris','ffffffffffffffffffffffffffffffff','{"seed": 0, "source": "iris.csv", "target": "kind"}','{"trials": 20}','done','elsewhere:1:1:00000000','{"estimate": 0.25, "metric": "log_loss"}','["7cb869b0f7d22580a5732336957fb9d7", "56bf196de5cb057e31562f556ef3f7d2", "1d0b3896df1576113acaf9a2234857ee"]');
INSERT INTO "studies" VALUES('moons-1a2b3c','1a2b3c',1764000020.0,1764000020.0,'moons','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{"seed": 0}','{}','running','elsewhere:1:2:3',NULL,'[]');
CREATE TABLE study_trials (
	study VARCHAR(80) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	PRIMARY KEY (study, "key")
);
INSERT INTO "study_trials" VALUES('iris-f0ae84','7cb869b0f7d22580a5732336957fb9d7');
INSERT INTO "study_trials" VALUES('iris-f0ae84','56bf196de5cb057e31562f556ef3f7d2');
INSERT INTO "study_trials" VALUES('iris-f0ae84','1d0b3896df1576113acaf9a2234857ee');
INSERT INTO "study_trials" VALUES('iris-f0ae84','f871c51d3eb25356aef1d26cedda5e32');
CREATE TABLE task_data (
	digest VARCHAR(32) NOT NULL, 
	part INTEGER NOT NULL, 
	parts INTEGER NOT NULL, 
	content BLOB NOT NULL, 
	PRIMARY KEY (digest, part)
);
CREATE TABLE trials (
	"key" VARCHAR(64) NOT NULL, 
	trial TEXT NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	owner VARCHAR(80), 
	fence BIGINT NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	predictions BLOB, 
	shape TEXT, 
	seconds DOUBLE, 
	cpu_seconds DOUBLE, 
	peak_bytes BIGINT, 
	model_bytes BIGINT, 
	error TEXT, 
	notes TEXT, 
	created DOUBLE NOT NULL, 
	finished DOUBLE, 
	PRIMARY KEY ("key")
);
INSERT INTO "trials" VALUES('7cb869b0f7d22580a5732336957fb9d7','{"draw": "cv:k=5:r=0", "method": "learn/logistic", "params": {}, "seed": 0, "task": "ffffffffffffffffffffffffffffffff", "version": 1, "view": "linear"}','done',NULL,856435924919,0.0,X'780101780087FFE37BF9CD3F4FD93F017F6E0201FAE23F3CC330A5C597873F60A8D5B50F09513F2582B03F5123D03F19D44CD8D2E5E73FBCD81A34B34EC43FE620F9AB66C5C63F9801FB87F93AE53F6C99166B12BEE43F00ED8D369981D63FCF3E01279A0F223FC51F61709049E53FAA9D8C97A4C3953F9EF6C4D5A410D43FD6543B22','[5, 3]',1.5,1.25,1000,200,NULL,NULL,1764000003.0,1764000004.0);
INSERT INTO "trials" VALUES('56bf196de5cb057e31562f556ef3f7d2','{"draw": "cv:k=5:r=1", "method": "learn/logistic", "params": {}, "seed": 0, "task": "ffffffffffffffffffffffffffffffff", "version": 1, "view": "linear"}','done',NULL,716326345321,0.0,X'780101780087FF844AA18BB453C43F524CE9C66E5FA73F9918A9F01B75E93F78708D7C9A8EC43F6C3D05304AE3A93F0A50DCBD243EE93F2DAC3FA81F8EDD3F26B8144F8257E03F79386E99BB2D9C3F8A25C4F62C04D83FBA9BB61E205EE03F018C3A2F4BFEBC3F9ED44BC6F315E43FD52CC7B98FFCB33F928BF684F4D4D23F44093A9C','[5, 3]',1.5,1.25,1000,200,NULL,'["on the processor"]',1764000005.0,1764000006.0);
INSERT INTO "trials" VALUES('1d0b3896df1576113acaf9a2234857ee','{"draw": "cv:k=5:r=2", "method": "learn/logistic", "params": {}, "seed": 0, "task": "ffffffffffffffffffffffffffffffff", "version": 1, "view": "linear"}','failed',NULL,1019664201692,0.0,NULL,NULL,0.5,0.25,0,0,'ValueError: no',NULL,1764000007.0,1764000008.0);
INSERT INTO "trials" VALUES('f871c51d3eb25356aef1d26cedda5e32','{"draw": "cv:k=5:r=3", "method": "learn/logistic", "params": {}, "seed": 0, "task": "ffffffffffffffffffffffffffffffff", "version": 1, "view": "linear"}','running','elsewhere:1:1:00000000',46169007082,1764000069.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1764000009.0,NULL);
CREATE TABLE workers (
	owner VARCHAR(80) NOT NULL, 
	lease_until DOUBLE NOT NULL, 
	study VARCHAR(80), 
	PRIMARY KEY (owner)
);
CREATE INDEX trials_running ON trials (state, owner);
CREATE INDEX trials_begun ON trials (created, "key");
CREATE INDEX ix_study_trials_key ON study_trials ("key");
CREATE INDEX ix_coordinators_study ON coordinators (study);
CREATE INDEX ix_offers_key ON offers ("key");
COMMIT;
