/** @file The version that pictures and requests carry; a test holds it equal to package.json's. */
export declare const SOLVAY_VERSION = "0.1.0";
