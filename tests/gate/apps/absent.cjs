'use strict';

require('not-installed');
